"""Triton's interpreter: its state before braidcheck patches it, and programs in reverse order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from braidcheck.isolation.surroundings import noted

State = list[tuple[Any, dict[str, object]]]


def state() -> State:
    """The attributes that braidcheck replaces in the interpreter; call this before importing the patches."""
    import triton.language as tl
    from triton.language.extra import libdevice
    from triton.language.extra.cuda import libdevice as of_cuda
    from triton.language.semantic import TritonSemantic
    from triton.runtime import interpreter
    from triton.runtime.autotuner import Autotuner

    classes = tl.dtype, tl.block_type, tl.tensor, TritonSemantic, Autotuner, *_classes(interpreter)
    modules = tl.core, interpreter, interpreter.interpreter_builder, libdevice, of_cuda
    return [(owner, dict(vars(owner))) for owner in (*modules, *classes)]


def _classes(interpreter: Any) -> list[type]:
    names = "InterpreterBuilder", "InterpretedFunction", "ReduceOps", "ScanOps", "GridExecutor", "ASTTransformer"
    return [getattr(interpreter, name) for name in names]


def restore(before: State) -> None:
    """Put the attributes back."""
    for owner, attributes in before:
        for name in set(vars(owner)) - set(attributes):
            delattr(owner, name)
        for name, value in attributes.items():
            if vars(owner).get(name) is not value:
                setattr(owner, name, value)


@contextmanager
def kept() -> Iterator[None]:
    """A context in which the interpreter may be patched again; restores it afterwards."""
    before = state()
    try:
        yield
    finally:
        restore(before)


@contextmanager
def last_program_first() -> Iterator[None]:
    """A context in which a launch's programs run in reverse order, so that no program repairs what another has
    overwritten."""
    from triton.runtime.interpreter import InterpreterBuilder

    plain = InterpreterBuilder.set_grid_idx

    def reversed_place(self: Any, *place: int) -> None:
        plain(self, *(size - 1 - at for size, at in zip(self.grid_dim, place, strict=True)))

    InterpreterBuilder.set_grid_idx = reversed_place
    try:
        with noted("last program first"):
            yield
    finally:
        InterpreterBuilder.set_grid_idx = plain
