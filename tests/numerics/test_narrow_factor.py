"""A norm whose factor, the inverse root, is rounded to 16 bits: within most bounds, and biased in all rows."""

from functools import partial

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.numerics import rope, rounding
from braidcheck.numerics.contract_variants import under
from braidcheck.numerics.conventions import named

WORDS = {"rms_norm": ["output=input", "rounding=before"], "rms_norm_qkv": [], "gate_up_silu": [], "lm_head": []}
CASES = [(name, case) for name in WORDS for case in kernels.find()[name].cases if case.profile == "halfway"]


def with_narrow_factor(x, weight, eps):
    factor = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps).to(weight.dtype)
    return rounding.norm_weight.get().applied(x.float() * factor.float(), weight)


@pytest.mark.parametrize(("name", "case"), CASES, ids=lambda value: getattr(value, "id", ""))
def test_a_narrow_factor_is_seen(name, case, monkeypatch):
    op = under(kernels.find()[name], named(kernels.find()[name], WORDS[name]))
    given = {"out_dtype": getattr(torch, case.dtype)} if name == "rms_norm" else {}
    right = partial(op.reference, **given)
    assert not accuracy.violation(measure_op(op, case, "cpu", right))

    def narrow(*args, **options):
        with monkeypatch.context() as patched:
            patched.setattr(rounding, "rms_normed", with_narrow_factor)
            return right(*args, **options)

    evidence = measure_op(op, case, "cpu", narrow)
    assert max(output["bias"] for output in evidence["outputs"]) > 1
    assert accuracy.violation(evidence)


def test_every_op_with_a_norm_has_such_cases_in_both_16_bit_dtypes():
    assert {name for name, _ in CASES} == set(WORDS)
    for name in (*WORDS, *HEADS):
        halfway = [case.dtype for case in kernels.find()[name].cases if case.profile == "halfway"]
        assert sorted(halfway) == ["bfloat16", "float16"], name


HEADS = {
    "qkv_rope": [[], ["rope=input dtype", "rounding=before weight"]],
    "decode_attention": [["heads=rounded before RoPE"], ["rope=input dtype"]],
    "fused_attention": [[], ["heads=rounded before RoPE"]],
}
HEAD_CASES = [
    (name, words, case)
    for name in HEADS
    for words in HEADS[name]
    for case in kernels.find()[name].cases
    if case.profile == "halfway"
]


def head_norm_with_narrow_factor(x, weight, eps):
    factor = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps).to(weight.dtype).to(x.dtype)
    weighted = rounding.norm_weight.get().applied(x * factor, weight).to(x.dtype)
    return rounding.cast_at("heads", weighted, weight.dtype)


@pytest.mark.parametrize(("name", "words", "case"), HEAD_CASES, ids=str)
def test_a_narrow_factor_of_a_head_s_norm_is_seen(name, words, case, monkeypatch):
    op = under(kernels.find()[name], named(kernels.find()[name], words))
    assert not accuracy.violation(measure_op(op, case, "cpu", op.reference))

    def narrow(*args, **options):
        with monkeypatch.context() as patched:
            patched.setattr(rope, "head_norm", head_norm_with_narrow_factor)
            return op.reference(*args, **options)

    assert "is biased to one side" in accuracy.violation(measure_op(op, case, "cpu", narrow))
