"""What the programs of a launch did to global memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

LOAD, STORE, ATOMIC = range(3)


@dataclass(frozen=True, eq=False)
class Access:
    """One load, store or atomic of a program, the ``position``-th thing that it does.

    ``pointers`` and ``mask`` are those of its elements, ``itemsize`` bytes each; ``data`` is what a store writes or an
    atomic finds.
    ``sem`` and ``scope`` are an atomic's memory semantics; ``is_tile`` says that its pointer is a tensor, each of whose
    elements belongs to one thread.
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
        """The address of each element that the mask lets through, int64."""
        return self.pointers[self.mask].astype(np.int64)

    @property
    def values(self) -> np.ndarray:
        """The bits of ``data``, an element each, uint64; zeros of a load."""
        if self.data is None:
            return np.zeros(len(self.addresses), np.uint64)
        chosen = np.ascontiguousarray(np.broadcast_to(self.data, self.pointers.shape)[self.mask])
        return chosen.view(f"u{chosen.itemsize}").astype(np.uint64)

    @property
    def is_tile(self) -> bool:
        """Whether each thread makes a part of it: an access to one element is made by one thread."""
        return self.pointers.size > 1


@dataclass
class Program:
    """What one program did: accesses, and the positions of its barriers and PDL calls among them."""

    place: tuple[int, ...]
    accesses: list[Access] = field(default_factory=list)
    barriers: list[int] = field(default_factory=list)
    wait: int | None = None
    trigger: int | None = None
    length: int = 0

    def next(self) -> int:
        """The position of what the program does next."""
        self.length += 1
        return self.length - 1


@dataclass
class Launch:
    """One launch of a kernel, or what PyTorch launches for one of its own operations.

    ``tensors`` are its arguments in memory: name, first address, end, bytes of an element. ``written`` holds what
    PyTorch's operation writes, from the first address to the end. ``pdl`` says that the launch may begin before the
    upstream one has ended.
    """

    kernel: str
    tensors: list[tuple[str, int, int, int]] = field(default_factory=list)
    pdl: bool = False
    programs: list[Program] = field(default_factory=list)
    written: list[tuple[int, int]] = field(default_factory=list)

    def element(self, address: int) -> str:
        """The argument and the element of it that lie at ``address``."""
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
