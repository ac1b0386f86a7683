"""Launches that begin before the kernel ahead has ended (programmatic dependent launch).

The interpreter knows none of it: there, and outside ``overlapped``, a launch begins when the one ahead has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import triton
import triton.language as tl

from braidcheck.kernels.common.configs import launch_arch

_overlapping = False


@contextmanager
def overlapped() -> Iterator[None]:
    """Launches within may begin before the kernel ahead has ended; that one must not write any weight.

    Each waits for all the kernels ahead before it reads an activation or writes anything. Nothing overlaps
    on a GPU class without PDL, or without tuned launch configs.
    """
    global _overlapping
    before, _overlapping = _overlapping, launch_arch().has_pdl
    try:
        yield
    finally:
        _overlapping = before


def options() -> dict[str, bool]:
    """The arguments of a launch: whether it overlaps the one ahead."""
    return {"OVERLAP": True, "launch_pdl": True} if _overlapping else {"OVERLAP": False}


@triton.jit
def begin(OVERLAP: tl.constexpr):
    """Let the next kernel start, after this one has asked for what it reads early: that must come first."""
    if OVERLAP:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def wait(OVERLAP: tl.constexpr):
    """Wait for all kernels ahead; every program must, or one that is two behind would read too early."""
    if OVERLAP:
        tl.extra.cuda.gdc_wait()
