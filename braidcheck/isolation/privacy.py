"""Keeps a process from reading others of the same user, and from taking all memory (Linux)."""

from __future__ import annotations

import ctypes
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from braidcheck import environment

PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 3, 4, 38
CAPABILITY_VERSION_3 = 0x20080522
# CAP_SYS_MODULE, _RAWIO, _PTRACE, _ADMIN, CAP_PERFMON, CAP_BPF: each reads the memory of others.
DROPPED = (16, 17, 19, 21, 38, 39)
MAX_MEMORY_SHARE, MAX_MEMORY_BYTES = 0.5, 8 << 30  # of what is free, that the child may take

libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def unreadable() -> Iterator[None]:
    """A context in which no process of the same user can read this one's memory, files or environment through /proc."""
    before = libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_DUMPABLE, before, 0, 0, 0)


def drop_privileges() -> None:
    """Drop, in this thread and its descendants, the capabilities by which root can read unreadable processes."""
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("Ii", CAPABILITY_VERSION_3, 0))
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable of 32 capabilities, twice
    if libc.capget(header, sets):
        return
    kept = ~sum(1 << number for number in DROPPED)
    low, high = kept & 0xFFFFFFFF, kept >> 32 & 0xFFFFFFFF
    words = struct.unpack("6I", sets.raw[:24])
    parts = [word & (low if number < 3 else high) for number, word in enumerate(words)]
    libc.capset(header, ctypes.create_string_buffer(struct.pack("6I", *parts)))


def end_with_parent(sent: signal.Signals = signal.SIGKILL) -> None:
    """Have this process ``sent`` a signal when its parent ends, for whatever reason (on Linux)."""
    if sys.platform == "linux":
        libc.prctl(PR_SET_PDEATHSIG, sent, 0, 0, 0)


def limit_memory() -> None:
    """Limit this process to a part of the free memory: more is a MemoryError here, not a crash elsewhere."""
    with suppress(OSError, ValueError):
        if free := environment.available_bytes():
            resource.setrlimit(resource.RLIMIT_DATA, (min(MAX_MEMORY_BYTES, int(MAX_MEMORY_SHARE * free)),) * 2)
