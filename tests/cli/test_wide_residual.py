"""A residual that is wider than the product: as transformers adds, in one dtype, and with the residual narrowed."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.cli.contract_fit import fit
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import measure_op

OP = kernels.find()["linear_residual"]
WIDE = [case for case in OP.cases if case.get("wide")]


def product(x, weight):
    return torch.nn.functional.linear(x, weight)


def as_hf(x, weight, residual):
    return residual + product(x, weight).to(residual.dtype)


def of_one_dtype(x, weight, residual):
    return torch.addmm(residual, x, weight.T)


def answering_in_one_dtype(x, weight, residual):
    return (product(x, weight) + residual).to(x.dtype)


def narrowing_the_residual(x, weight, residual):
    return (product(x, weight) + residual.to(x.dtype)).to(residual.dtype)


@pytest.mark.parametrize("case", WIDE, ids=lambda case: case.id)
def test_a_product_may_be_rounded_and_a_residual_may_not(case):
    assert not accuracy.violation(measure_op(OP, case, "cpu", as_hf))
    assert accuracy.violation(measure_op(OP, case, "cpu", narrowing_the_residual))


@pytest.mark.parametrize("function", [of_one_dtype, answering_in_one_dtype])
@pytest.mark.usefixtures("answers")
def test_a_function_of_one_dtype_is_held_to_its_convention(function):
    found = fit(OP, function, "cpu")
    assert found.said.startswith("held to linear_residual(residual=x dtype); fails the strict contract: ")
    assert not found.other_op


@pytest.mark.parametrize("function", [as_hf, narrowing_the_residual])
@pytest.mark.usefixtures("answers")
def test_a_function_that_answers_the_op_s_own_inputs_is_held_to_the_op(function):
    assert fit(OP, function, "cpu").said == ""
