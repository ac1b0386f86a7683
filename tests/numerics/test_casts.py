"""Casts that a contract permits, made in its reference."""

from dataclasses import replace

import pytest
import torch

from braidcheck import kernels
from braidcheck.numerics import casts

OPS = kernels.find()
CASTING = [name for name, op in OPS.items() if op.contract.result_casts]


def test_some_contracts_permit_casts_of_results():
    assert CASTING


@pytest.mark.parametrize("name", CASTING)
def test_each_permitted_cast_changes_the_reference_in_16_bits_alone(name):
    op = OPS[name]
    case = next(case for case in op.cases if case.profile == "qwen" and case.dtype == "bfloat16" and not case.large)
    inputs = op.inputs(case, "cpu")
    permitted = casts.of_op(op, inputs)
    assert permitted.keys() == op.contract.result_casts.keys()
    without = op.reference(**inputs)
    for function, dtype in permitted.items():
        with casts.applied({function: dtype}):
            rounded = op.reference(**inputs)
        assert not all(map(torch.equal, _tensors(rounded), _tensors(without))), function
    assert not casts.of_op(op, op.inputs(replace(case, dtype="float32"), "cpu"))


def _tensors(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def test_an_op_whose_contract_permits_none_has_none():
    assert not casts.of_op(OPS["rms_norm"], {})
