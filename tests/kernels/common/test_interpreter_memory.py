"""Loads and stores by numpy move the elements that Triton's own loop moves, and no others."""

import numpy as np
import pytest
import triton.language as tl
from triton.language.semantic import TritonSemantic
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from braidcheck.kernels.common import interpreter, interpreter_memory
from braidcheck.kernels.common.interpreter_memory import MIN_ELEMENTS

pytestmark = pytest.mark.skipif(not interpreter.INTERPRETED, reason="the interpreter's")

ROWS, COLUMNS = 32, MIN_ELEMENTS // 16
TYPES = {"fp32": np.float32, "bf16": np.uint16, "int64": np.int64, "int8": np.int8}
ELEMENTS = {"fp32": tl.float32, "bf16": tl.bfloat16, "int64": tl.int64, "int8": tl.int8}


def own(name, kind=InterpreterBuilder):
    """Triton's own method behind one of ours."""
    function = getattr(kind, name)
    names = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
    return names["plain"].cell_contents


@pytest.fixture(params=["rows", "columns", "repeated"])
def indices(request):
    whole = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    return {"rows": whole * 2, "columns": whole.reshape(COLUMNS, ROWS).T * 3, "repeated": whole // 3 % 97}[
        request.param
    ]


def pointers(memory, indices, element):
    addresses = memory.ctypes.data + (indices * memory.itemsize).astype(np.uint64)
    return TensorHandle(addresses, tl.pointer_type(element))


@pytest.fixture(params=["all", "half", "none"])
def mask(request):
    of_elements = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    return TensorHandle(
        {"all": of_elements >= 0, "half": of_elements % 2 == 1, "none": of_elements < 0}[request.param], tl.int1
    )


def block(data, dtype):
    return tl.tensor(TensorHandle(data, dtype), tl.block_type(dtype, list(data.shape)))


def memory_of(dtype):
    return np.random.default_rng(0).integers(0, 100, 3 * ROWS * COLUMNS).astype(dtype)


@pytest.mark.parametrize("with_other", [True, False])
@pytest.mark.parametrize("name", TYPES)
def test_a_load_gives_what_tritons_own_gives(name, indices, mask, with_other):
    memory, element = memory_of(TYPES[name]), ELEMENTS[name]
    wild = pointers(memory, indices, element).data.copy(order="K")
    wild[~mask.data] = 8  # what is masked is not read
    ptrs = TensorHandle(wild, tl.pointer_type(element))
    other = TensorHandle(np.broadcast_to(np.full(1, 7, TYPES[name]), wild.shape), element) if with_other else None
    found, expected = (
        load(interpreter.interpreter.interpreter_builder, ptrs, mask, other, None, None, False).data
        for load in (InterpreterBuilder.create_masked_load, own("create_masked_load"))
    )
    assert (found.dtype, found.strides, found.tobytes()) == (expected.dtype, expected.strides, expected.tobytes())


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("other", [None, tl.int32, tl.float32], ids=str)
@pytest.mark.parametrize("shape", [None, (ROWS, COLUMNS), (1, COLUMNS), (ROWS, 1)], ids=str)
def test_a_load_by_a_plan_is_tritons_own(name, shape, other):
    memory, semantic = memory_of(TYPES[name]), interpreter.interpreter.interpreter_semantic
    kind = tl.pointer_type(ELEMENTS[name])
    own_load = own("_load_legacy", TritonSemantic)
    for start in range(3):  # the first makes the plan
        addresses = pointers(memory, start + np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS), ELEMENTS[name])
        ptrs = tl.tensor(addresses, tl.block_type(kind, [ROWS, COLUMNS]))
        mask = shape and block((np.arange(np.prod(shape)).reshape(shape) + start) % 3 == 1, tl.int1)
        filled = mask and other and block(np.full((1, 1), 7 + start, other.name.replace("fp", "float")), other)
        found, expected = (
            load(semantic, ptrs, mask, filled, (), "", "", "", False)
            for load in (TritonSemantic._load_legacy, own_load)
        )
        assert (found.type, found.handle.data.shape) == (expected.type, expected.handle.data.shape)
        assert found.handle.data.tobytes() == expected.handle.data.tobytes()


@pytest.mark.parametrize("name", TYPES)
def test_a_store_writes_what_tritons_own_writes(name, indices, mask):
    value = TensorHandle(np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(TYPES[name]), ELEMENTS[name])
    written = []
    for store in (InterpreterBuilder.create_masked_store, own("create_masked_store")):
        memory = memory_of(TYPES[name])
        ptrs = pointers(memory, indices, ELEMENTS[name])
        store(interpreter.interpreter.interpreter_builder, ptrs, value, mask, None, None)
        written.append(memory.tobytes())
    assert written[0] == written[1]


def test_numpy_moves_what_is_large_and_lies_at_whole_elements():
    memory = memory_of(np.float32)
    addresses = memory.ctypes.data + 4 * np.arange(MIN_ELEMENTS, dtype=np.uint64)
    place = interpreter_memory._place(addresses, memory.dtype)
    np.testing.assert_array_equal(place[0][place[1]], memory[:MIN_ELEMENTS])
    addresses[5] += np.uint64(2)
    assert interpreter_memory._place(addresses, memory.dtype) is None
    assert interpreter_memory._place(addresses[:0], memory.dtype) is None
