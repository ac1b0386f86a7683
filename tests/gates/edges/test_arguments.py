"""The answer to a changed call must have the contract's dtype."""

import torch

from braidcheck import kernels
from braidcheck.gates.edges.arguments import calls, wrong_answer
from braidcheck.numerics.calls import copies

OP = kernels.find()["gate_up_silu"]


def widened(*args, **kwargs):
    return OP.call(*args, **kwargs).float()


def test_a_result_of_another_dtype_is_refused():
    inputs = calls(OP, "cpu")[0]
    assert wrong_answer(OP, OP.call, "x", lambda: copies(inputs)) is None
    dtype = str(inputs["weight"].dtype).removeprefix("torch.")
    assert inputs["weight"].dtype != torch.float32
    assert wrong_answer(OP, widened, "x", lambda: copies(inputs)) == f"out has dtype float32, must have {dtype}"
