"""Memory shared by two processes, one region per storage of the arguments: the parent owns and re-reads it. In the
child, inaccessible pages precede and follow each region, and every byte has the same offset within its page as in the
parent.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.multiprocessing.reductions import StorageWeakRef

GUARD = 1 << 24  # inaccessible bytes on each side
SPARSE_BYTES = 1 << 28  # from which on a storage may be mostly address space, of which only its tensors are copied

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE = 0x01, 0x02, 0x10, 0x20, 0x4000
PROT_NONE, PROT_READ, PROT_WRITE = 0, 1, 2
ADD_SEALS = 1033  # F_ADD_SEALS
SIZE_SEALS = 0x1 | 0x2 | 0x4  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, which Python has no names for on all systems
FAILED = ctypes.c_void_p(-1).value


def view(
    storage: UntypedStorage, dtype: torch.dtype, offset: int, shape: Sequence[int], stride: Sequence[int]
) -> Tensor:
    """A tensor on ``storage``; ``offset`` and strides in elements."""
    return torch.empty(0, dtype=dtype, device=storage.device).set_(storage, offset, tuple(shape), tuple(stride))


class Region:
    """The parent's side: shared memory with the contents of one of its storages."""

    def __init__(self, number: int, storage: UntypedStorage) -> None:
        self.number, self.size = number, storage.nbytes()
        self.start = storage.data_ptr() % mmap.PAGESIZE if storage.device.type == "cpu" else 0
        self._device = storage.device.type
        self.alive = StorageWeakRef(storage)
        self.fd = os.memfd_create(f"region-{number}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, pages(self.start + self.size))
        fcntl.fcntl(self.fd, ADD_SEALS, SIZE_SEALS)  # truncated there, reading it here would be a SIGBUS
        whole = mmap.mmap(self.fd, pages(self.start + self.size))
        self._bytes = torch.frombuffer(whole, dtype=torch.uint8, count=self.size, offset=self.start)

    @property
    def described(self) -> list[int | str]:
        """What the child needs, beside the file, to make a ``Mapping``."""
        return [self.number, self.start, self.size, self._device]

    def write(self, tensors: Sequence[Tensor]) -> None:
        """Copy the storage of ``tensors`` into the region."""
        for own, shared in self._pairs(tensors):
            shared.copy_(own)

    def read(self, tensors: Sequence[Tensor]) -> None:
        """Copy the region into the storage of ``tensors``."""
        for own, shared in self._pairs(tensors):
            own.copy_(shared)

    def close(self) -> None:
        """Release the memory; the other process may still hold it."""
        os.close(self.fd)

    def _pairs(self, tensors: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        storage = tensors[0].untyped_storage()
        if self.size > max(SPARSE_BYTES, 8 * sum(tensor.nbytes for tensor in tensors)):
            return [(tensor, self._twin(tensor)) for tensor in tensors]
        return [(view(storage, torch.uint8, 0, (self.size,), (1,)), self._bytes)]

    def _twin(self, tensor: Tensor) -> Tensor:
        shared = self._bytes.untyped_storage()
        return view(shared, tensor.dtype, tensor.storage_offset(), tensor.shape, tensor.stride())


class Mapping:
    """The child's side: the same memory between guards, as a storage on the function's device."""

    def __init__(self, fd: int, start: int, size: int, device: str) -> None:
        self.size, room = size, pages(start + size)
        whole = libc.mmap(None, room + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        inner = whole + GUARD
        if whole == FAILED or libc.mmap(inner, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == FAILED:
            raise OSError(ctypes.get_errno(), "mmap failed")
        os.close(fd)
        memory = _Bytes(size).from_address(inner + start)
        # Lives as long as any tensor on it, including the function's own views.
        weakref.finalize(memory, libc.munmap, whole, room + 2 * GUARD)
        self.shared = torch.frombuffer(memory, dtype=torch.uint8, count=size)
        self.placed = self.shared if device == "cpu" else torch.empty(size, dtype=torch.uint8, device=device)
        self.take()

    def take(self) -> None:
        """Copy in what the parent wrote."""
        if self.placed is not self.shared:
            self.placed.copy_(self.shared)

    def give(self) -> None:
        """Copy the contents out for the parent."""
        if self.placed is not self.shared:
            self.shared.copy_(self.placed)

    def offset_of(self, address: int) -> int | None:
        """Bytes from the beginning to ``address``; None if that is elsewhere."""
        distance = address - self.placed.data_ptr()
        return distance if 0 <= distance < self.size else None  # on a GPU another block may begin where this one ends


def _Bytes(size: int) -> Any:  # a type
    """A ctypes array type whose instances can be referred to weakly."""
    return type("Bytes", (ctypes.c_char * size,), {})


def pages(count: int) -> int:
    """``count`` bytes in whole pages."""
    return -(-count // mmap.PAGESIZE) * mmap.PAGESIZE
