"""Programmatic dependent launch (PDL): a kernel begins before the upstream kernel has ended.

A kernel calls ``launch_dependents`` (CUDA's griddepcontrol.launch_dependents), from when on the next kernel of the
stream may start, and ``grid_dependency_wait`` (griddepcontrol.wait, cudaGridDependencySynchronize) before it reads what
an upstream kernel writes. Outside ``programmatic_dependent_launch`` launches are serialized, but for the second of two
launches of one op (``dependent_options``). The interpreter has no PDL: all launches are serialized there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import triton
import triton.language as tl

from braidcheck.kernels.common.configs import launch_arch

_use_pdl = False


@contextmanager
def programmatic_dependent_launch() -> Iterator[None]:
    """Launches within use PDL; no upstream kernel may write a weight.

    Each waits for all upstream kernels before it reads an activation or writes anything. Launches stay serialized on a
    GPU class without PDL, or without tuned launch configs.
    """
    global _use_pdl
    before, _use_pdl = _use_pdl, launch_arch().has_pdl
    try:
        yield
    finally:
        _use_pdl = before


def launch_options() -> dict[str, bool]:
    """The arguments of a launch: whether it uses PDL."""
    return {"USE_PDL": True, "launch_pdl": True} if _use_pdl else {"USE_PDL": False}


def upstream_options() -> dict[str, bool]:
    """``launch_options`` of a launch whose op launches ``dependent_options``'s kernel right after it."""
    return launch_options() | {"USE_PDL": launch_arch().has_pdl}


def dependent_options() -> dict[str, bool]:
    """The arguments of a launch right after another one of its op: PDL wherever a GPU has it."""
    return {"USE_PDL": True, "launch_pdl": True} if launch_arch().has_pdl else {"USE_PDL": False}


@triton.jit
def launch_dependents(USE_PDL: tl.constexpr):
    """Let the next kernel start. Loads and prefetches that need not wait must be issued before this."""
    if USE_PDL:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def grid_dependency_wait(USE_PDL: tl.constexpr):
    """Wait for all upstream kernels. Every program must: the next kernel but one relies on it when it waits for this
    one."""
    if USE_PDL:
        tl.extra.cuda.gdc_wait()
