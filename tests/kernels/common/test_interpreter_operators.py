"""Operators by a plan give Triton's own bits and types; what numpy computes otherwise has none."""

import operator
from functools import partial

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter as of_triton
from triton.runtime.interpreter import TensorHandle

from braidcheck.kernels.common import interpreter, interpreter_operators
from braidcheck.kernels.common.interpreter_operators import OPERATORS
from tests.kernels.common.tensors import interpreter_tensor

pytestmark = pytest.mark.skipif(not interpreter.INTERPRETED, reason="the interpreter's")

TYPES = {
    "int1": tl.int1,
    "int32": tl.int32,
    "int64": tl.int64,
    "uint32": tl.uint32,
    "fp16": tl.float16,
    "fp32": tl.float32,
    "fp64": tl.float64,
    "bf16": tl.bfloat16,
}
SHAPES = ((4, 1), (1, 8)), ((8,), (4, 8)), ((), (4, 8)), ((4, 8), (4, 8)), ((), ())
NUMBERS = 3, -2, 2**31 - 1, 2**40, 0.5, 1e-45, 1e39, float("inf"), True, 0


def tensor(dtype, shape, seed):
    random = np.random.default_rng(seed)
    values = random.integers(1, 50, shape or (1,)) * random.choice(
        [-1, 1] if "u" not in dtype.name else [1], shape or (1,)
    )
    return interpreter_tensor(values, dtype, shape)


def found(compute, *operands):
    """Type, bits and stored type of a result, or the refusal."""
    try:
        with np.errstate(all="ignore"):
            result = compute(*operands)
    except Exception as error:
        return type(error), str(error)
    stored = "int1" if result.dtype == tl.int1 else result.handle.dtype.name  # Triton says the operands' type there
    return result.type.name, stored, result.handle.data.dtype, result.handle.data.tobytes()


def tritons_own(function):
    """Triton's function behind one of ours: that which a fresh plan is made from."""
    names = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
    if "planned" in names:  # of the semantic layer
        return tritons_own(names["planned"].cell_contents).func
    own = names["plain"].cell_contents
    assert isinstance(own, partial) or own.__module__.startswith("triton")
    return own


@pytest.fixture
def plain():
    return lambda name: tritons_own(getattr(tl.tensor, name))


@pytest.mark.parametrize("name", [*(f"__{name}__" for name in OPERATORS), "__radd__", "__rsub__", "__rmul__"])
@pytest.mark.parametrize("left", TYPES)
def test_an_operator_gives_what_tritons_own_gives(plain, name, left):
    for right in TYPES:
        for shapes in SHAPES:
            for seed in range(3):  # the first makes the plan
                operands = tensor(TYPES[left], shapes[0], seed), tensor(TYPES[right], shapes[1], seed + 1)
                expected = found(plain(name), *operands)
                assert found(getattr(tl.tensor, name), *operands) == expected, (right, shapes, seed)


@pytest.mark.parametrize("name", [*(f"__{name}__" for name in OPERATORS), "__radd__", "__rsub__", "__rmul__"])
@pytest.mark.parametrize("dtype", TYPES)
def test_an_operator_with_a_number_gives_what_tritons_own_gives(plain, name, dtype):
    for number in (*NUMBERS, tl.constexpr(5), tl.constexpr(0.25)):
        for seed in range(3):
            operands = tensor(TYPES[dtype], (4, 8), seed), number
            assert found(getattr(tl.tensor, name), *operands) == found(plain(name), *operands), (number, seed)


@pytest.mark.parametrize("offset", [tl.int32, tl.int64, tl.uint32, tl.float32])
def test_pointers_plus_offsets_are_tritons_own(plain, offset):
    for element in (tl.float32, tl.bfloat16, tl.int1):
        pointer = tl.pointer_type(element)
        for seed in range(2):
            base = tl.tensor(TensorHandle(np.array([2**40 + seed], np.uint64), pointer), pointer)
            operands = base, tensor(offset, (4, 8), seed)
            assert found(operator.add, *operands) == found(plain("__add__"), *operands)


def test_a_plan_is_made_once_and_used_from_then_on():
    calls = []

    def add(left, right):
        calls.append((left, right))
        return tl.tensor(TensorHandle(left.handle.data + right.handle.data, left.dtype), left.type)

    planned = interpreter_operators._operator(add, np.add)
    for seed in range(3):
        left, right = tensor(tl.float32, (4, 8), seed), tensor(tl.float32, (4, 8), seed + 1)
        np.testing.assert_array_equal(planned(left, right).handle.data, left.handle.data + right.handle.data)
    assert len(calls) == 1


def test_where_numpy_gives_something_else_tritons_own_code_stays():
    calls = []

    def add(left, right):
        calls.append((left, right))
        return tl.tensor(TensorHandle(left.handle.data - right.handle.data, left.dtype), left.type)

    planned = interpreter_operators._operator(add, np.add)
    for seed in range(3):
        planned(tensor(tl.float32, (4, 8), seed), tensor(tl.float32, (4, 8), seed + 1))
    assert len(calls) == 3


@pytest.mark.parametrize("parts", [(slice(None), None), (None, slice(None)), (None, slice(None), None), (slice(0, 2),)])
def test_axes_are_added_as_triton_adds_them(plain, parts):
    for dtype in TYPES.values():
        for seed in range(2):
            operand = tensor(dtype, (8,), seed), parts
            assert found(tl.tensor.__getitem__, *operand) == found(plain("__getitem__"), *operand)


@pytest.mark.parametrize("name", ["minimum", "maximum"])
def test_extremes_are_tritons_own(name):
    semantic = of_triton.interpreter_semantic
    own = tritons_own(getattr(type(semantic), name))
    for dtype in TYPES.values():
        for seed in range(3):
            operands = tensor(dtype, (4, 8), seed), tensor(dtype, (4, 8), seed + 5), tl.PropagateNan.NONE
            assert found(getattr(semantic, name), *operands) == found(own, semantic, *operands)


@triton.jit
def _count(x_ptr, out_ptr, N: tl.constexpr, DTYPE: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, N)).to(DTYPE)
    tl.store(out_ptr + tl.arange(0, N), ((x < 3).to(DTYPE) + (x < 5).to(DTYPE)).to(tl.int32))


@pytest.mark.parametrize("dtype", [tl.int32, tl.int64, tl.float32, tl.float16, tl.bfloat16], ids=str)
def test_truth_is_cast_to_the_type_of_what_was_compared(dtype):
    out = torch.zeros(8, dtype=torch.int32)
    _count[(1,)](torch.arange(8, dtype=torch.int32), out, 8, dtype)
    assert out.tolist() == [2, 2, 2, 1, 1, 0, 0, 0]


def test_a_product_is_checked_for_each_pair_of_types():
    semantic = of_triton.interpreter_semantic
    a, b, acc = tensor(tl.float32, (16, 32), 0), tensor(tl.float32, (32, 16), 1), tensor(tl.float32, (16, 16), 2)
    options = (None, None, tl.float32)
    for _ in range(2):
        data = semantic.dot(a, b, acc, *options).handle.data
        np.testing.assert_array_equal(data, np.matmul(a.handle.data, b.handle.data) + acc.handle.data)
    with pytest.raises(AssertionError, match="compatible"):
        semantic.dot(a, a, acc, *options)
