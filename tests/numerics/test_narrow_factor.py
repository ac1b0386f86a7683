"""A norm whose factor, the inverse root, is rounded to 16 bits: within every bound, and biased in all rows."""

from functools import partial

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.numerics import rounding
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

    assert "is biased to one side" in accuracy.violation(measure_op(op, case, "cpu", narrow))


def test_every_op_with_a_norm_has_such_a_case():
    assert {name for name, _ in CASES} == set(WORDS)
