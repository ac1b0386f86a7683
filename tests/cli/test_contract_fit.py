"""Which contract a function keeps: the op's own, one of conventions that others have, or none."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.cli.contract_fit import fit
from braidcheck.errors import UserError
from braidcheck.numerics import conventions

NORM = kernels.find()["rms_norm"]


def normed(x, eps):
    return x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps)


def strict(x, weight, eps):
    return normed(x, eps) * weight.float()


def in_input_dtype(x, weight, eps):
    return strict(x, weight, eps).to(x.dtype)


def as_hf(x, weight, eps):
    return weight * normed(x, eps).to(x.dtype)


def as_gemma(x, weight, eps):
    return (normed(x, eps) * (1 + weight.float())).to(x.dtype)


def as_gemma_in_float32(x, weight, eps):
    return normed(x, eps) * (1 + weight.float())


def refuses_float16(x, weight, eps):
    assert x.dtype != torch.float16
    return strict(x, weight, eps)


def without_eps(x, weight, eps):
    return in_input_dtype(x, weight, 0.0) * 1.01


def raises(x, weight, eps):
    raise RuntimeError("no")


def fitting(function, op=NORM):
    return fit(op, function, "cpu", lambda case: not case.needs)


@pytest.mark.parametrize("function", [strict, refuses_float16, without_eps, raises])
def test_own_contract_is_kept_or_none(function):
    found = fitting(function)
    assert found.op is NORM
    assert not found.said


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (in_input_dtype, "output=input dtype"),
        (as_hf, "output=input dtype, rounding=before weight"),
        (as_gemma, "output=input dtype, weight=1 + weight"),
        (as_gemma_in_float32, "weight=1 + weight"),
    ],
)
def test_conventions_are_named_the_fewest_that_do(function, names):
    found = fitting(function)
    assert found.said.startswith(f"held to rms_norm({names}); fails the strict contract: without ")
    assert found.op.cases == NORM.cases


@pytest.mark.parametrize(
    ("function", "other_op"), [(in_input_dtype, False), (as_hf, False), (as_gemma, True), (strict, False)]
)
def test_another_weight_is_another_op(function, other_op):
    assert fitting(function).other_op is other_op


def test_each_convention_says_what_breaks_without_it_and_who_has_it():
    said = fitting(as_hf).said.split(": ", 1)[1].split("; ")
    assert said[0] == (
        "without output=input dtype y is bfloat16, must be float32 (as Liger, vLLM, SGLang and fla return it)"
    )
    assert said[1].startswith("without rounding=before weight by ")
    assert 1 < float(said[1].split(" by ")[1].split("x")[0]) < 3  # two roundings in place of one
    assert said[1].endswith("(as HF defines Llama and Qwen3)")


@pytest.mark.parametrize(
    "op", [op for op in kernels.find().values() if op.name in conventions.NORMS], ids=lambda op: op.name
)
def test_every_norm_has_every_convention(op):
    found = {conventions.name(op, chosen): variant for chosen, variant in conventions.variants(op)}
    assert found[op.name] is op
    assert {f"{op.name}(rounding=before weight)", f"{op.name}(weight=1 + weight)"} <= set(found)
    assert len(found) == (8 if op.name in conventions.OUTPUTS else 4)


@pytest.mark.parametrize("name", conventions.NORMS)
def test_a_variant_is_another_answer_within_its_own_bound_alone(name):
    op = kernels.find()[name]
    plus_one = conventions.under(op, tuple(one for one in conventions.CONVENTIONS if one.weight.offset))
    assert fitting(op.reference, op).op is op
    found = fit(op, plus_one.reference, "cpu")
    assert found.said.startswith(f"held to {name}(weight=1 + weight); fails the strict contract: ")


def test_conventions_are_found_by_the_beginning_of_their_value():
    named = conventions.named(NORM, ["rounding=before-weight", "output=input"])
    assert [one.name for one in named] == ["output=input dtype", "rounding=before weight"]
    assert conventions.named(NORM, []) == ()


@pytest.mark.parametrize("word", ["output=", "output=nope", "nope=input", "input dtype"])
def test_a_convention_that_the_op_has_not_is_refused_with_those_it_has(word):
    with pytest.raises(UserError, match=r"has no contract with .*; one of output=input dtype, rounding"):
        conventions.named(NORM, [word])
    with pytest.raises(UserError, match="it has none but its own"):
        conventions.named(kernels.find()["lm_head"], [word])
