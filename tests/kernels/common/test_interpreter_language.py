"""What kernels of other libraries use: typed arguments, loop variables, autotuning, and what cannot be interpreted."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.errors import InterpreterError

from braidcheck.kernels.common import interpreter  # noqa: F401  (its import patches the interpreter)
from braidcheck.kernels.common.interpreter_language import LoopIndex, cannot_interpret


@triton.jit
def _arguments(y_ptr, eps, size: tl.int64, flag, count):
    tl.store(y_ptr, (eps.to(tl.float32) * 3).to(tl.float32))
    tl.store(y_ptr + 1, size * 3)  # past the largest int32
    tl.store(y_ptr + 2, flag)
    tl.store(y_ptr + 3, count.to(tl.int64) * 3)


def test_numbers_are_tensors_of_the_declared_types():
    y = torch.empty(4, dtype=torch.float64)
    _arguments[(1,)](y, 0.1, 2**30, True, 2**30)
    eps = np.float32(0.1) * np.float32(3)
    assert y.tolist() == [float(eps), 3 * 2.0**30, 1, 3 * 2.0**30]


@triton.jit
def _loop(y_ptr, n, N: tl.constexpr):
    total = tl.zeros([1], dtype=tl.int64)
    for i in range(0, n, N):
        total += (i + 1).to(tl.int64) * 2**30 + i // 2
    for j in tl.static_range(N):
        total += tl.full([j + 1], 1, tl.int64).sum() - j  # a constant, of which shapes are made
    tl.store(y_ptr + tl.arange(0, 1), total)


def test_loop_variables_have_the_methods_of_tensors():
    y = torch.empty(1, dtype=torch.int64)
    _loop[(1,)](y, 9, N=1)
    assert y.item() == sum((i + 1) * 2**30 + i // 2 for i in range(9)) + 1
    assert LoopIndex(2**31).dtype == tl.int64
    assert type(LoopIndex(7) - 3) is type(3 - LoopIndex(7)) is LoopIndex


@triton.autotune(configs=[triton.Config({"BLOCK": 4}), triton.Config({"BLOCK": 8})], key=["n"])
@triton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
@triton.jit
def _tuned(y_ptr, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, BLOCK, mask=(i < n) | EVEN)


def test_autotuning_takes_the_first_configuration_and_the_grid_sees_numbers():
    y, seen = torch.zeros(10, dtype=torch.int32), []

    def grid(meta):
        seen.append((type(meta["n"]), meta["n"], meta["BLOCK"]))
        return (triton.cdiv(meta["n"], meta["BLOCK"]),)

    _tuned[grid](y, 10)
    assert y.tolist() == [4] * 10
    assert seen == [(int, 10, 4)]


@triton.jit
def _inline(y_ptr):
    x = tl.load(y_ptr)
    tl.store(y_ptr, tl.inline_asm_elementwise("mov.u32 $0, $1;", "=r,r", [x], tl.int32, True, 1))


@triton.jit
def _mistaken(y_ptr):
    tl.store(y_ptr + tl.arange(0, 4), tl.arange(0, 8))


def raised(launch):
    with pytest.raises((InterpreterError, RuntimeError)) as caught:
        launch()
    return caught.value


def test_what_the_interpreter_lacks_is_told_from_mistakes():
    y = torch.zeros(8, dtype=torch.int32)
    assert cannot_interpret(raised(lambda: _inline[(1,)](y))) == "inline_asm not supported in interpreter mode"
    assert "active drivers" in cannot_interpret(raised(lambda: triton.runtime.driver.active.get_current_device()))
    assert cannot_interpret(raised(lambda: _mistaken[(1,)](y))) == ""
    assert cannot_interpret(None) == cannot_interpret(TypeError("no")) == ""
