"""Casts, choices and constants by a plan give Triton's own bits, types and layout."""

import math

import numpy as np
import pytest
import triton.language as tl
from triton.runtime import interpreter as of_triton
from triton.runtime.interpreter import TensorHandle

from braidcheck.kernels.common import interpreter
from tests.kernels.common.tensors import interpreter_tensor

pytestmark = pytest.mark.skipif(not interpreter.INTERPRETED, reason="the interpreter's")

TYPES = [tl.int1, tl.int8, tl.int32, tl.int64, tl.uint32, tl.float16, tl.float32, tl.float64, tl.bfloat16]
SEEDS = range(3)  # the first makes the plan
SEMANTIC = of_triton.interpreter_semantic


def own(name):
    """Triton's own method behind one of ours."""
    function = getattr(type(SEMANTIC), name)
    return dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))["plain"].cell_contents


def tensor(dtype, shape, seed, order="C"):
    return interpreter_tensor(np.random.default_rng(seed).integers(0, 90, shape), dtype, shape, order)


def found(compute, *operands):
    """Type, bits and layout of a result, or the refusal."""
    try:
        with np.errstate(all="ignore"):
            result = compute(*operands)
    except Exception as error:
        return type(error), str(error)
    data = result.handle.data
    return result.type.name, result.handle.dtype.name, data.dtype, data.strides, data.tobytes()


@pytest.mark.parametrize("old", TYPES, ids=str)
@pytest.mark.parametrize("order", "CF")
def test_a_cast_gives_what_tritons_own_gives(old, order):
    for new in TYPES:
        for seed in SEEDS:
            operands = SEMANTIC, tensor(old, (4, 8), seed, order), new
            assert found(type(SEMANTIC).cast, *operands) == found(own("cast"), *operands), (new, seed)


@pytest.mark.parametrize("new", TYPES, ids=str)
def test_a_cast_of_each_float16_gives_what_tritons_own_gives(new):
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    operand = tl.tensor(TensorHandle(every, tl.float16), tl.block_type(tl.float16, [2**16]))
    for _ in SEEDS:
        assert found(type(SEMANTIC).cast, SEMANTIC, operand, new) == found(own("cast"), SEMANTIC, operand, new)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("order", "CF")
def test_a_choice_gives_what_tritons_own_gives(dtype, order):
    of_same = tensor(dtype, (4, 8), 9, order)
    for other in (of_same, tensor(dtype, (1, 8), 5), tensor(tl.float32, (4, 8), 6), 0, 3, 0.5, -math.inf, 1e39, True):
        for seed in SEEDS:
            condition, one = tensor(tl.int1, (4, 8), seed, order), tensor(dtype, (4, 8), seed + 1, order)
            condition.handle.data[::2] = False
            for operands in ((SEMANTIC, condition, one, other), (SEMANTIC, condition, other, one)):
                assert found(type(SEMANTIC).where, *operands) == found(own("where"), *operands), (other, seed)


@pytest.mark.parametrize("value", [0, 0.0, -0.0, 1, 1.0, True, False, -7, 0.1, math.inf, math.nan])
def test_a_constant_is_tritons_own(value):
    for dtype in (tl.int32, tl.int64, tl.float32, tl.float64, tl.bfloat16):
        if isinstance(value, float) and dtype.is_int():
            continue
        for _ in SEEDS:
            operands = SEMANTIC, value, dtype
            assert found(type(SEMANTIC).scalar_constant, *operands) == found(own("scalar_constant"), *operands)
