"""Data types: the accesses of a launch's programs to global memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

LOAD, STORE, ATOMIC = range(3)


@dataclass(frozen=True, eq=False)
class Access:
    """One load, store or atomic of a program, at ``position`` in its sequence of events. ``pointers`` and ``mask`` are
    per element of ``itemsize`` bytes; ``data`` is what a store writes or an atomic reads. ``sem`` and ``scope`` are an
    atomic's memory semantics; ``is_tile``: the pointer is a tensor, of which each element belongs to one thread.
    """

    program: int
    position: int
    kind: int
    pointers: np.ndarray
    mask: np.ndarray
    itemsize: int
    data: np.ndarray | None = None
    sem: str = ""
    scope: str = ""
    is_float_add: bool = False

    @cached_property
    def addresses(self) -> np.ndarray:
        """The address of each unmasked element, int64."""
        return self.pointers[self.mask].astype(np.int64)

    @property
    def values(self) -> np.ndarray:
        """The bits of ``data`` per element, uint64; zeros for a load."""
        if self.data is None:
            return np.zeros(len(self.addresses), np.uint64)
        chosen = np.ascontiguousarray(np.broadcast_to(self.data, self.pointers.shape)[self.mask])
        return chosen.view(f"u{chosen.itemsize}").astype(np.uint64)

    @property
    def is_tile(self) -> bool:
        """Whether all threads take part: an access to a single element is made by one thread."""
        return self.pointers.size > 1


@dataclass
class Program:
    """One program: its accesses, and the positions of its barriers and PDL calls."""

    place: tuple[int, ...]
    accesses: list[Access] = field(default_factory=list)
    barriers: list[int] = field(default_factory=list)
    wait: int | None = None
    trigger: int | None = None
    length: int = 0

    def next(self) -> int:
        """The position of the program's next event."""
        self.length += 1
        return self.length - 1


@dataclass
class Launch:
    """One launch of a kernel, or of one of PyTorch's operations. ``tensors`` are its arguments in memory: name, first
    address, end, bytes per element. ``written`` are the address ranges that PyTorch's operation writes. ``pdl``: the
    launch may begin before the upstream one has ended.
    """

    kernel: str
    tensors: list[tuple[str, int, int, int]] = field(default_factory=list)
    pdl: bool = False
    programs: list[Program] = field(default_factory=list)
    written: list[tuple[int, int]] = field(default_factory=list)

    def element(self, address: int) -> str:
        """The argument and its element at ``address``."""
        for name, start, end, itemsize in self.tensors:
            if start <= address < end:
                return f"{name}[{(address - start) // itemsize}]"
        return "memory of no argument"

    def accesses(self) -> Iterator[Access]:
        """The accesses of all programs, in the order in which they were made."""
        for program in self.programs:
            yield from program.accesses


def span(name: str, tensor: torch.Tensor) -> tuple[str, int, int, int]:
    """A tensor as ``Launch.tensors`` has it: from its first element to its last, gaps included."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    size = tensor.element_size()
    return name, tensor.data_ptr(), tensor.data_ptr() + (last + 1) * size * bool(tensor.numel()), size
