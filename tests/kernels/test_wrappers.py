"""Wrappers: strides honoured or refused, positions outside the table, packed K scale, split caches."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.kernels.attention_decode import attention_decode
from braidcheck.kernels.attention_prefill import attention_prefill
from braidcheck.kernels.linear_residual import linear_residual
from braidcheck.kernels.lm_head import lm_head
from braidcheck.kernels.qk_norm_rope import qk_norm_rope, safe_k_scale
from braidcheck.kernels.qkv_rope import qkv_rope
from braidcheck.kernels.rms_norm import rms_norm
from braidcheck.numerics.rope import rope_table
from braidcheck.result import Status

OPS = kernels.find()
BF16 = torch.bfloat16


@pytest.mark.parametrize("op", OPS)
def test_the_kernel_is_within_its_bound(op):
    # One case an op shows that the wrapper runs; the gate evaluates them all.
    case = next(case for case in OPS[op].cases if case.profile == "tail" and not case.large)
    verdict = accuracy.evaluate(measure_op(OPS[op], case))
    assert verdict.status == Status.PASS, verdict.message


def test_rows_may_be_strided():
    x = torch.randn(6, 40)[:, :24]
    assert torch.equal(rms_norm(x, torch.ones(24), 1e-6), rms_norm(x.contiguous(), torch.ones(24), 1e-6))


def test_a_strided_last_axis_is_refused_by_name():
    with pytest.raises(ValueError, match="x: the last axis must be contiguous, its strides are"):
        rms_norm(torch.randn(24, 6).T, torch.ones(24), 1e-6)


def test_rms_norm_in_place():
    x = torch.randn(5, 24)
    expected = rms_norm(x, torch.ones(24), 1e-6)
    assert rms_norm(x, torch.ones(24), 1e-6, out=x) is x
    assert torch.equal(x, expected)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: rms_norm(torch.randn(5), torch.ones(5), 1e-6), "x must be"),
        (lambda: rms_norm(torch.randn(5, 4), torch.ones(4), 1e-6, out=torch.empty(5, 4, dtype=BF16)), "out must be"),
        (
            lambda: linear_residual(torch.randn(2, 8), torch.randn(4, 8).half(), torch.randn(2, 4)),
            "weight must be torch.float32 as x, is torch.float16",
        ),
        (lambda: qkv(qkv_weight=torch.randn(1, 8)), "qkv_weight must be"),
        (lambda: qkv(x=torch.randn(3, 8).half()), "x must be torch.float32 as qkv_weight, is torch.float16"),
        (
            lambda: qkv(q_norm_weight=torch.ones(4), k_norm_weight=torch.ones(4).half()),
            "k_norm_weight must be .* as q_norm_weight",
        ),
        (lambda: qkv(q_norm_weight=torch.ones(4)), "both q_norm_weight and k_norm_weight"),
        (
            lambda: attention_prefill(*(torch.randn(3, h, 4) for h in (3, 2, 2)), 1.0),
            "Hq of q must be a multiple of Hkv=2 of k, is 3",
        ),
        (lambda: attention_prefill(*(torch.randn(3, 2, 4) for _ in "qkv"), 1.0, q_start=1), "need as many keys"),
        (lambda: qk(k_scale=0.3), "power of two"),
    ],
)
def test_wrapper_rejects_invalid_arguments(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def qkv(**changed):
    given = {
        "x": torch.randn(3, 8), "qkv_weight": torch.randn(16, 8), "cos_sin": rope_table(5, 4),
        "positions": torch.tensor([0, 4, 5]), "num_heads": 2, "num_kv_heads": 1, "head_dim": 4,
    }  # fmt: skip
    return qkv_rope(**(given | changed))


def qk(k_norm=1.0, dtype=torch.float16, **options):
    k = torch.zeros(4, 1, 128, dtype=dtype)
    k[:, :, 5] = 1
    weight = torch.full((128,), k_norm, dtype=dtype)
    q = torch.randn(4, 2, 128, generator=torch.Generator().manual_seed(2)).to(dtype)
    return qk_norm_rope(
        q, k, torch.ones(128, dtype=dtype), weight, rope_table(9, 128), torch.arange(4), 1e-6, **options
    )


def test_a_position_outside_the_table_gives_nan():
    q, k, v = qkv()
    for part in (q, k):
        assert part[:2].isfinite().all()
        assert part[2].isnan().all()
    assert v.isfinite().all()


@pytest.mark.parametrize(("peak", "scale"), [(1.0, 1.0), (96.5, 1.0), (100.0, 1.0), (400.0, 0.25), (8192.0, 2.0**-7)])
def test_the_safe_k_scale_is_a_power_of_two_and_one_at_the_real_maximum(peak, scale):
    assert safe_k_scale(torch.tensor([1.0, -peak])) == scale


@pytest.mark.parametrize("peak", [96.5, 400.0])
def test_the_scaled_path_gives_the_bits_of_the_plain_one(peak):
    scale = safe_k_scale(torch.tensor([peak]))
    outs = []
    for k_scale in (1.0, scale):
        q, k = qk(peak, k_scale=k_scale)
        v = torch.randn(4, 1, 128, generator=torch.Generator().manual_seed(3)).half()
        outs.append(attention_prefill(q, k, v, 128**-0.5 / k_scale))
    assert torch.equal(*outs)


def test_scaling_prevents_the_overflow_of_float16():
    assert qk(8192.0)[1].isinf().any()
    assert qk(8192.0, k_scale=safe_k_scale(torch.tensor([8192.0])))[1].isfinite().all()


def test_the_best_token_is_the_lowest_of_equal_ones():
    x, weight = torch.randn(3, 32).to(BF16), torch.randn(700, 32).to(BF16)
    weight[[650, 130, 400]] = 9 * x[0]  # the same best logit in three blocks, for row 0
    logits = lm_head(x, torch.ones(32).to(BF16), weight, 1e-6)
    best = lm_head(x, torch.ones(32).to(BF16), weight, 1e-6, argmax=True)
    assert int(best[0]) == 130
    assert torch.equal(best, logits.argmax(-1))


def test_an_empty_row_gives_zeros():
    cache = torch.full((2, 5, 1, 16), torch.nan, dtype=BF16)
    out = attention_decode(torch.randn(2, 2, 16).to(BF16), cache, cache, torch.tensor([0, 0]), 1.0)
    assert torch.equal(out, torch.zeros_like(out))


def test_a_row_does_not_depend_on_its_neighbours():
    for name in (name for name, op in OPS.items() if op.contract.batch_invariant and name != "cache_write"):
        op = OPS[name]
        case = next(case for case in op.cases if case.get("T", case.get("B")) > 2 and not case.large)
        given = op.inputs(case, "cpu")
        count = case.get("T", case.get("B"))
        alone = {k: v[1:2] if isinstance(v, torch.Tensor) and len(v) == count else v for k, v in given.items()}
        one, all_rows = op.call(**alone), op.call(**given)
        for part, whole in zip(one, all_rows, strict=True) if isinstance(one, tuple) else [(one, all_rows)]:
            assert torch.equal(part[0], whole[1]), name


@pytest.mark.parametrize(("old", "new"), [("rotated", "post_rope"), ("raw", "pre_rope")])
def test_the_old_names_of_the_cache_forms_are_taken(old, new):
    op = kernels.find()["fused_attention"]
    given = op.inputs(op.cases[1], "cpu")
    outs = []
    for cache in (old, new):
        caches = {name: given[name].clone() for name in ("k_cache", "v_cache")}
        outs.append((op.call(**given | caches | {"cache": cache}), caches["k_cache"].nan_to_num(7)))
    assert all(torch.equal(one, other) for one, other in zip(*outs, strict=True))
