"""Finds a kernel's launch config: by op, regime and size bucket, among those of this process's GPU class.

A GPU class that nobody tuned gets ``DEFAULT_CONFIGS`` and neither TMA nor PDL. The interpreter is a class too: few,
large programs, and of attention enough splits to test them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch

from braidcheck.arch import GENERIC, INTERPRETER, Arch, of_capability
from braidcheck.kernels.common.grid import next_power_of_2
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.kernel_config import ANY, LARGE, SMALL, TILED, Configs, KernelConfig, Regime, SizeBucket
from braidcheck.kernels.common.tuned_configs import DEFAULT_CONFIGS, INTERPRETER_MIN_SIZES, MIN_SIZES, TUNED_CONFIGS

_OVERRIDES: ContextVar[Configs] = ContextVar("overrides", default={})  # noqa: B039 it is never written to


@cache
def capability() -> tuple[int, int]:
    """The compute capability of this machine's NVIDIA GPU, (0, 0) where there is none."""
    nvidia = torch.version.hip is None and torch.cuda.is_available()
    return torch.cuda.get_device_capability() if nvidia else (0, 0)


def launch_arch() -> Arch:
    """The class that launches are chosen for: that of this process's GPU if it is tuned, else ``GENERIC``."""
    arch = INTERPRETER if INTERPRETED else of_capability(capability())
    return arch if arch.name in TUNED_CONFIGS else GENERIC


def configs() -> Configs:
    """All configs of ``launch_arch()``."""
    return TUNED_CONFIGS.get(launch_arch().name, DEFAULT_CONFIGS)


def has_config(op: str, regime: Regime, bucket: SizeBucket = ANY) -> bool:
    """Whether this process's GPU class has a config: not every kernel is for every class."""
    return (op, regime, bucket) in configs()


def get_config(op: str, regime: Regime = TILED, bucket: SizeBucket = ANY) -> KernelConfig:
    """The config of one kernel of ``op``. Raises KeyError where this process's GPU class has none."""
    key = op, regime, bucket
    return _OVERRIDES.get().get(key) or configs()[key]


@contextmanager
def override_config(overrides: Configs) -> Iterator[None]:
    """Within it, ``get_config`` gives these configs instead of the tuned ones."""
    token = _OVERRIDES.set({**_OVERRIDES.get(), **overrides})
    try:
        yield
    finally:
        _OVERRIDES.reset(token)


def size_bucket(kernel: str, size: int) -> SizeBucket:
    """The bucket of this size, 0 or more, in the row ``kernel`` of ``MIN_SIZES``."""
    min_sizes = INTERPRETER_MIN_SIZES if INTERPRETED else MIN_SIZES
    return next(bucket for bucket, min_size in min_sizes[kernel].items() if size >= min_size)


def default_block_m(num_tokens: int) -> int:
    """BLOCK_M of a projection in tiles: one tensor-core tile in decode; in the interpreter few, large programs."""
    if INTERPRETED:
        return min(256, max(16, next_power_of_2(num_tokens)))
    return 16 if num_tokens <= 16 else 64


def tiled_bucket(block_m: int) -> SizeBucket:
    """The bucket of a TILED kernel of this BLOCK_M."""
    return SMALL if block_m <= 16 else LARGE
