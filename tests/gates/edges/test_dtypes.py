"""Arguments of two dtypes: each kernel that the dispatch can choose is asked, and a cast of one shows."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates.edges import dtypes
from braidcheck.gates.under_test import run_check

OP = kernels.find()["linear_residual"]


def residual_cast(x, weight, residual):
    return OP.call(x, weight, residual.to(x.dtype).to(residual.dtype))


def residual_cast_where_many(x, weight, residual):
    return (residual_cast if len(x) > 16 else OP.call)(x, weight, residual)


def test_the_wrapper_is_right():
    assert dtypes.violation(OP, OP.call, "cpu") is None


@pytest.mark.parametrize("function", [residual_cast, residual_cast_where_many])
def test_a_cast_to_the_dtype_of_another_argument_is_seen(function):
    assert "residual of torch.float32" in dtypes.violation(OP, function, "cpu")


def raising_for_another_residual(error):
    def function(x, weight, residual):
        if residual.dtype != x.dtype:
            raise error("residual must be as x")
        return OP.call(x, weight, residual)

    return function


def test_a_refusal_is_no_violation():
    assert dtypes.violation(OP, raising_for_another_residual(ValueError), "cpu") is None


@pytest.mark.parametrize("error", [TypeError, RuntimeError, IndexError])
def test_a_crash_is_no_refusal(error):
    found = run_check(lambda: dtypes.violation(OP, raising_for_another_residual(error), "cpu"))
    assert found == f"{error.__name__}: residual must be as x"


def test_an_op_whose_arguments_must_agree_has_nothing_to_ask(monkeypatch):
    op = kernels.find()["attention_decode"]
    monkeypatch.setattr(dtypes, "wrong_answer", lambda *given: "asked")
    assert dtypes.violation(op, op.call, "cpu") is None


def test_kernels_are_told_apart():
    calls = [dtypes._kernels(OP, OP.call, inputs) for inputs in dtypes.calls_of_each_kernel(OP, OP.call, "cpu", "tail")]
    named = {kernel for call in calls for kernel, *_ in call}
    assert {name.removeprefix("linear_residual_").removesuffix("_kernel") for name in named} == {
        "gemv", "sliced_k", "tiled", "persistent", "split_k", "reduce",
    }  # fmt: skip


def test_numbers_do_not_survive_a_cast_back():
    value = torch.ones(300, dtype=torch.bfloat16)
    changed = dtypes._numbers(value, torch.float32)
    assert not (changed.bfloat16().float() == changed).all()
