"""Two tables of angles, and q, k and v in one tensor: right functions are accepted, wrong ones refused."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.numerics.contract_variants import under
from braidcheck.numerics.conventions import HEADS, named

OPS = kernels.find()
TABLES, PACKED = "table=cos and sin", "qkv=packed"


def case_of(op):
    return next(case for case in op.cases if case.profile == "qwen" and not case.large and case.get("T", 2) > 1)


def violation(name, words, function):
    op = under(OPS[name], named(OPS[name], words))
    return accuracy.violation(measure_op(op, case_of(op), "cpu", function))


def rotating(swapped=False):
    def qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos, sin, positions, eps, k_scale=1.0):
        table = torch.cat([sin, cos] if swapped else [cos, sin], -1)
        return OPS["qk_norm_rope"].reference(q, k, q_norm_weight, k_norm_weight, table, positions, eps, k_scale)

    return qk_norm_rope


def decoding(order="qkv", is_grouped=False):
    """decode_attention of packed heads; ``is_grouped``: it takes each KV head to lie behind its queries, as GPT-NeoX
    packs them."""

    def decode_attention(qkv, q_norm_weight, k_norm_weight, cos_sin, positions, k_cache, v_cache, eps, scale):
        kv_heads = k_cache.shape[2]
        heads = qkv.shape[1] - 2 * kv_heads
        if is_grouped:
            groups = qkv.unflatten(1, (kv_heads, -1)).split([heads // kv_heads, 1, 1], 2)
            q, k, v = (part.flatten(1, 2) for part in groups)
        else:
            q, *rest = qkv.split([heads, kv_heads, kv_heads], 1)
            k, v = rest if order == "qkv" else reversed(rest)
        given = q, k, v, q_norm_weight, k_norm_weight, cos_sin, positions, k_cache, v_cache, eps, scale
        return OPS["decode_attention"].reference(*given)

    return decode_attention


def test_two_tables_are_taken_for_one():
    assert not violation("qk_norm_rope", [TABLES], rotating())
    assert violation("qk_norm_rope", [TABLES], rotating(swapped=True))


def test_packed_heads_are_taken_apart():
    assert not violation("decode_attention", [PACKED], decoding())
    assert violation("decode_attention", [PACKED], decoding("qvk"))
    assert violation("decode_attention", [PACKED], decoding(is_grouped=True))


@pytest.mark.parametrize("name", HEADS)
def test_every_op_with_a_table_takes_two(name):
    op = under(OPS[name], named(OPS[name], [TABLES, "rope=input dtype"]))
    inputs = op.inputs(case_of(op), "cpu")
    assert "cos_sin" not in inputs
    assert inputs["cos"].shape == inputs["sin"].shape
    assert not violation(name, [TABLES, "rope=input dtype"], op.reference)


def test_both_forms_go_with_pages():
    words = [PACKED, TABLES, "page=16", "layout=HND"]
    op = under(OPS["decode_attention"], named(OPS["decode_attention"], words))
    assert not violation("decode_attention", words, op.reference)
    assert {"qkv", "cos", "sin", "block_table"} <= op.inputs(case_of(op), "cpu").keys()
