"""Calls an op with guards around every tensor and gaps between its rows, so that out-of-bounds accesses show.

On a CPU, inaccessible pages precede and follow each tensor: a kernel that touches them ends the process. The gaps
between rows, and on a GPU the memory around the tensor, hold NaN or far too large integers, which must still be there
after the call. A GPU's max drops NaN, so some cases use a large finite number instead, with row gaps of an odd number
of elements. The interpreter runs a launch's programs in reverse order, so that no program repairs what another has
overwritten.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import mmap
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from braidcheck.gates.accuracy.measure import Guard, case_check
from braidcheck.gates.calls import memory
from braidcheck.gates.calls.chosen import chosen_cases, needs_general_kernel
from braidcheck.gates.calls.observe import ViolationError, require_right
from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.sizes.launches import instead_of_running
from braidcheck.gates.under_test import wrapper
from braidcheck.gates.under_test.interpreter import last_program_first
from braidcheck.isolation.surroundings import noted
from braidcheck.numerics.calls import copies, run
from braidcheck.op import Case, Op

MARGIN = 4096  # elements on each side, on a GPU
GUARD = 1 << 24  # bytes of inaccessible pages on each side, on a CPU
APART = 24  # elements between two rows; eight more for each further argument, so that all strides differ
ODD_APART = 5  # with finite numbers between, where rows begin at any element; two more for each further argument
MAKERS = (
    torch.empty, torch.empty_like, torch.zeros, torch.zeros_like, torch.full,
    Tensor.new_empty, Tensor.new_zeros, Tensor.new_full, Tensor.contiguous,
)  # fmt: skip
PACKED = ("cos_sin",)  # arguments that ops accept only without gaps
SENTINEL = 0x5A  # every byte between the rows of an output
FAR = 1 << 30  # an invalid index
MAX_FAR_ROWS, MAX_FAR_SIZES = 40, 2300  # of a case with rows far apart; all its sizes added up
MAP_NORESERVE = 0x4000  # of Linux; Python has no name for it before 3.13


class OutOfBoundsError(Exception):
    """A kernel wrote outside the tensors that it was given."""


class RedZones(TorchFunctionMode):
    """A context in which tensors that a wrapper allocates get guards; ``check`` verifies all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.red_zones: list[tuple[Tensor, Tensor, Tensor]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Guards the functions that allocate a tensor; all other calls pass through."""
        made = function(*args, **(kwargs or {}))
        return self.around(made) if function in MAKERS else made

    def around(self, tensor: Tensor, fill: float | None = None, gap: int = 0) -> Tensor:
        """The same numbers with guards and with ``gap`` elements of ``fill``, or of the sentinel, between rows."""
        if not tensor.numel():
            return tensor
        strides = list(tensor.stride())
        if tensor.dim() > 1:
            strides[0] += gap
        span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, strides, strict=True))
        whole, start = _guarded(span, tensor.dtype) if tensor.device.type == "cpu" else _padded(span, tensor)
        outside = torch.ones_like(whole, dtype=torch.bool)
        outside.as_strided(tensor.shape, strides, start).fill_(False)
        if fill is None:
            whole.view(torch.uint8).fill_(SENTINEL)
        else:
            whole.fill_(fill)
        inside = whole.as_strided(tensor.shape, strides, start)
        inside.copy_(tensor)
        self.red_zones.append((whole, outside, whole[outside]))
        return inside

    def check(self) -> None:
        """Raise OutOfBoundsError if a guard has changed."""
        for whole, outside, before in self.red_zones:
            if not torch.equal(whole[outside].view(torch.uint8), before.view(torch.uint8)):
                raise OutOfBoundsError("wrote outside a tensor")


def with_red_zones(call: Callable[..., Any], finite: bool = False) -> Callable[..., Any]:
    """``call`` with guards around its arguments and the tensors that it allocates, and gaps between the arguments'
    rows. The gaps hold NaN, or with ``finite`` a large number.
    """
    apart, more = (ODD_APART, 2) if finite else (APART, 8)

    @functools.wraps(call)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        red_zones, inputs = RedZones(), inspect.signature(call).bind(*args, **kwargs).arguments
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        copies = {
            name: red_zones.around(value, _outside(value, finite), 0 if name in PACKED else apart + more * number)
            for number, (name, value) in enumerate(tensors.items())
        }
        with red_zones, noted("red zones"), last_program_first():
            result = call(**{**inputs, **copies})
        red_zones.check()
        for name, copy in copies.items():
            inputs[name].copy_(copy)  # results of in-place ops are in their arguments
        return result

    return guarded


def red_zones(op: Op, device: str) -> list[tuple[str, Case, Guard]]:
    """The guarded calls: a name, a case and the guard. On a CPU also with rows far apart."""
    # The addresses that a kernel reads depend on sizes and types, not on profiles.
    cases = list({(tuple(case.axes.items()), case.dtype): case for case in op.cases if not case.large}.values())
    checks: list[tuple[str, Case, Guard]] = [(case.id, case, with_red_zones) for case in cases]
    if device != "cpu":
        return checks
    # Indices of less than 64 bits overflow at such rows, which cost address space, not memory.
    return checks + [(f"{case.id} far apart", case, far_apart) for case in _cases_of_each_kernel(op, cases)]


def _cases_of_each_kernel(op: Op, cases: list[Case]) -> Iterator[Case]:
    """Cases of one row, and of three or more, one for each choice of kernels: of products the largest affordable one,
    for in a small one no program has a second block, of attention the smallest."""
    chosen: dict[object, Case] = {}
    sign = -1 if {"H", "V"} & set(cases[0].axes) and "S" not in cases[0].axes else 1
    for case in sorted(cases, key=lambda case: sign * sum(case.axes.values())):
        # By what a dispatch may look at: to ask it about all of them would take seconds.
        rows, switches = case.get("T", case.get("B")), [axis for axis in case.axes if axis.islower()]
        if rows != 2 and rows <= MAX_FAR_ROWS and sum(case.axes.values()) < MAX_FAR_SIZES:
            choice = rows == 1, rows > 16, needs_general_kernel(case), *switches, max(case.axes.values()) > 1024
            chosen.setdefault(choice, case)
    known: list[list[str]] = []
    for case in chosen.values():
        with suppress(Exception), instead_of_running(-1) as launches:  # the case itself shows what the call raises
            run(op, op.call, op.inputs(case, "cpu"))
        kernels = [launch.code[0] for launch in launches]
        if kernels not in known:
            known.append(kernels)
            yield case


def far_apart(call: Callable[..., Any]) -> Callable[..., Any]:
    """``call`` with each tensor's last row nearly 2**32 elements from its first, across untouched memory."""

    @functools.wraps(call)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        inputs = inspect.signature(call).bind(*args, **kwargs).arguments
        copies = {
            name: _far(value)
            for name, value in inputs.items()
            if isinstance(value, Tensor) and value.dim() > 1 and len(value) > 2 and name not in PACKED
        }
        result = call(**{**inputs, **copies})
        for name, copy in copies.items():
            inputs[name].copy_(copy)
        return result

    return guarded


def _far(tensor: Tensor) -> Tensor:
    # The stride fits in 32 bits, so that only its product with an index can overflow; from half of the rows on it does,
    # for a kernel may add the rest of an index by itself.
    # A multiple of 64 elements, as TMA requires: other strides would be left to the kernels without it.
    stride = max(min((1 << 32) // (len(tensor) - 1) // 64 * 64 + 64, (1 << 31) - 64), tensor.stride(0))
    count = (len(tensor) - 1) * stride + tensor[0].numel()
    # Not reserved: only the pages of the rows are allocated.
    memory = mmap.mmap(-1, count * tensor.dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    whole = torch.frombuffer(memory, dtype=tensor.dtype, count=count)
    apart = whole.as_strided(tensor.shape, (stride, *tensor[0].contiguous().stride()))
    apart.copy_(tensor)
    return apart


def _outside(tensor: Tensor, finite: bool) -> float:
    if not tensor.is_floating_point():
        return FAR
    return memory.finite(tensor) if finite else torch.nan


def _padded(span: int, like: Tensor) -> tuple[Tensor, int]:
    return torch.zeros(span + 2 * MARGIN, dtype=like.dtype, device=like.device), MARGIN


def _guarded(span: int, dtype: torch.dtype) -> tuple[Tensor, int]:
    """Memory for ``span`` elements up to the very end of its last page, between inaccessible pages."""
    room = -(-span * dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, room + 2 * GUARD)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for start in (address, address + GUARD + room):
        if libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(GUARD), 0):
            raise OSError(ctypes.get_errno(), "mprotect failed")
    count = room // dtype.itemsize
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=GUARD), count - span


def red_zones_check(op: Op, case: Case, device: str, guard: Guard) -> str | None:
    """The violation on one case under ``guard``, and the content of the gaps."""
    between = "rows up to 2**32 elements apart" if guard is far_apart else "NaN between rows"
    violation = case_check(op, case, device, guard)
    return violation and f"with {between}: {violation}"


def finite_check(op: Op, case: Case, device: str) -> str | None:
    """The violation on one case with a large finite number between rows."""
    inputs = op.inputs(case, device)
    outputs = run(op, with_red_zones(wrapper(op.name), finite=True), copies(inputs))
    try:
        require_right(op, inputs, outputs, f"with {memory.FINITE:.2g} between rows")
    except ViolationError as error:
        return str(error)
    return None


def finite_checks(op: Op, device: str) -> dict[str, Check]:
    """The checks of one op by name, with finite numbers between rows."""
    return {f"{case.id} finite": partial(finite_check, op, case, device) for case in chosen_cases(op)}


def op_checks(op: Op, device: str) -> dict[str, Check]:
    """The checks of one op by name: its cases, each with one guard."""
    checks: dict[str, Check] = {
        name: partial(red_zones_check, op, case, device, guard) for name, case, guard in red_zones(op, device)
    }
    return checks | finite_checks(op, device)


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The checks of all of the trial's ops."""
    rows = [(op, *rest) for op in trial.ops.values() for rest in red_zones(op, trial.device)]
    for op, name, case, guard in sorted(rows, key=lambda row: trial.case_seconds.get(row[2].id, 0.0)):
        yield name, partial(red_zones_check, op, case, trial.device, guard)
    for op in trial.ops.values():
        yield from finite_checks(op, trial.device).items()
