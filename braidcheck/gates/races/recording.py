"""Records the accesses of a launch's programs to global memory while Triton's interpreter runs them.

Launches use programmatic dependent launch (PDL) here as on a GPU that has it: the interpreter, which cannot overlap
launches, notes where a program waits for the upstream launches and where it lets the next one start.
"""

from __future__ import annotations

import ctypes
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from braidcheck.gates.races.accesses import ATOMIC, LOAD, STORE, Access, Launch, Program, span
from braidcheck.gates.under_test import module
from braidcheck.gates.under_test.interpreter import kept

ALLOCATIONS = ("empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided")  # launch nothing


class Recorder(TorchDispatchMode):
    """A context that, together with ``recorded()``, appends every launch and PyTorch operation to ``launches``."""

    def __init__(self) -> None:
        super().__init__()
        self.launches: list[Launch] = []
        self.in_launch = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether PyTorch keeps its compiler out of this class, which would import the compiler where it is not in use;
        that takes 1 s."""
        return "torch._dynamo" in sys.modules

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and record its writes; views and allocations launch nothing."""
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if not self.in_launch and function._schema.name.split("::")[-1] not in ALLOCATIONS:
            written = [*_mutated(function, args, kwargs), *_allocated(result, (args, kwargs))]
            if written:
                spans = [(start, end) for _, start, end, _ in (span("", tensor) for tensor in written)]
                self.launches.append(Launch(str(function), written=spans))
        return result

    def program(self) -> Program:
        """The program that runs."""
        return self.launches[-1].programs[-1]

    def access(self, kind: int, pointers: Any, mask: np.ndarray | None, **rest: Any) -> None:
        """Record an access of the running program."""
        program = self.program()
        where = np.broadcast_to(True if mask is None else mask, pointers.data.shape)
        itemsize = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        number = len(self.launches[-1].programs) - 1
        program.accesses.append(Access(number, program.next(), kind, pointers.data, where, itemsize, **rest))


def _mutated(function: Any, args: Any, kwargs: Any) -> Iterator[torch.Tensor]:
    for index, argument in enumerate(function._schema.arguments):
        value = args[index] if index < len(args) else kwargs.get(argument.name)
        if argument.alias_info and argument.alias_info.is_write and isinstance(value, torch.Tensor):
            yield value


def _allocated(result: Any, inputs: Any) -> Iterator[torch.Tensor]:
    input_storages = {
        leaf.untyped_storage().data_ptr() for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor)
    }
    for leaf in tree_leaves(result):
        if isinstance(leaf, torch.Tensor) and leaf.untyped_storage().data_ptr() not in input_storages:
            yield leaf


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """A context that records this process's launches, with PDL, in the list that it yields."""
    recorder = Recorder()
    with kept(), _with_pdl_marks(recorder), recorder:
        _patch_launches(recorder)
        _patch_memory(recorder)
        yield recorder.launches


def _patch_launches(recorder: Recorder) -> None:
    from triton.runtime.interpreter import InterpretedFunction, InterpreterBuilder

    plain_run, plain_place = InterpretedFunction.run, InterpreterBuilder.set_grid_idx

    @wraps(plain_run)
    def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        names = inspect.signature(self.fn).parameters
        arguments = dict(zip(names, args, strict=False)) | {name: kwargs[name] for name in names if name in kwargs}
        launch = Launch(self.fn.__name__, _tensors(arguments), bool(kwargs.get("launch_pdl")))
        recorder.launches.append(launch)
        recorder.in_launch = True
        try:
            plain_run(self, *args, grid=grid, warmup=warmup, **kwargs)
        finally:
            recorder.in_launch = False

    def set_grid_idx(self: Any, *place: int) -> None:
        plain_place(self, *place)
        recorder.launches[-1].programs.append(Program(self.grid_idx))

    InterpretedFunction.run = run
    InterpreterBuilder.set_grid_idx = set_grid_idx


def _tensors(arguments: Mapping[str, object]) -> list[tuple[str, int, int, int]]:
    """The tensors among a launch's arguments, including those of tensor descriptors."""
    tensors = {name.removesuffix("_ptr"): getattr(value, "base", value) for name, value in arguments.items()}
    return [span(name, value) for name, value in tensors.items() if isinstance(value, torch.Tensor)]


def _patch_memory(recorder: Recorder) -> None:
    from triton.runtime.interpreter import InterpreterBuilder as Builder

    def before(name: str, note: Callable[..., None]) -> None:
        plain = getattr(Builder, name)

        def noting(self: Any, *args: Any, **options: Any) -> Any:
            note(*args, **options)
            return plain(self, *args, **options)

        setattr(Builder, name, noting)

    def of_tile(kind: int, desc: Any, *rest: Any, **_: Any) -> None:
        value, indices = rest[:2] if kind == STORE else (None, rest[0])
        pointers, mask = desc.materialize_pointers(indices)
        recorder.access(kind, pointers, mask, data=None if value is None else value.data)

    def rmw(op: Any, pointers: Any, value: Any, mask: Any, sem: Any, scope: Any) -> None:
        values = _memory(pointers, mask.data)
        is_float_add = op.name == "FADD"
        recorder.access(
            ATOMIC, pointers, mask.data, data=values, sem=sem.name, scope=scope.name, is_float_add=is_float_add
        )

    def cas(pointers: Any, compared: Any, value: Any, sem: Any, scope: Any) -> None:
        values = _memory(pointers, np.ones_like(pointers.data, dtype=bool))
        recorder.access(ATOMIC, pointers, None, data=values, sem=sem.name, scope=scope.name)

    before("create_masked_load", lambda ptr, mask, *_, **__: recorder.access(LOAD, ptr, mask.data))
    before(
        "create_masked_store",
        lambda ptr, value, mask, *_, **__: recorder.access(STORE, ptr, mask.data, data=value.data),
    )
    before("create_descriptor_load", partial(of_tile, LOAD))
    before("create_descriptor_store", partial(of_tile, STORE))
    before("create_atomic_rmw", rmw)
    before("create_atomic_cas", cas)
    before("create_barrier", lambda: recorder.program().barriers.append(recorder.program().next()))


def _memory(pointers: Any, mask: np.ndarray) -> np.ndarray:
    """The bits at ``pointers`` where ``mask`` is true."""
    size = pointers.get_element_ty().primitive_bitwidth // 8
    values = np.zeros(pointers.data.shape, f"u{size}")
    for at in np.argwhere(np.broadcast_to(mask, values.shape)):
        values[tuple(at)] = int.from_bytes(ctypes.string_at(int(pointers.data[tuple(at)]), size), sys.byteorder)
    return values


@contextmanager
def _with_pdl_marks(recorder: Recorder) -> Iterator[None]:
    """A context in which wrappers launch with PDL and a program's PDL calls are recorded."""
    from triton.language.extra import cuda

    def wait() -> None:
        program, position = recorder.program(), recorder.program().next()
        program.wait = position if program.wait is None else program.wait

    def launch_dependents() -> None:
        program, position = recorder.program(), recorder.program().next()
        program.trigger = position if program.trigger is None else program.trigger

    pdl = module("kernels.common.pdl")
    arch = pdl.launch_arch
    before = cuda.gdc_wait, cuda.gdc_launch_dependents
    pdl.launch_arch = lambda: replace(arch(), has_pdl=True)
    cuda.gdc_wait, cuda.gdc_launch_dependents = wait, launch_dependents
    try:
        with pdl.programmatic_dependent_launch():
            yield
    finally:
        cuda.gdc_wait, cuda.gdc_launch_dependents = before
        pdl.launch_arch = arch
