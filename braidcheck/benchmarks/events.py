"""Times calls with CUDA events, in interleaved rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import torch


class Rate(TypedDict):
    """Units per second: of the median, the slowest and the fastest sample."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median, fastest and slowest of ``count`` samples."""

    median: float
    fastest: float
    slowest: float
    count: int

    def rate(self, units: float) -> Rate:
        """The rate of ``units`` per call."""
        return {"median": units / self.median, "low": units / self.slowest, "high": units / self.fastest}


def gpu_seconds(*functions: Callable[[], object], count: int = 5, warmup: int = 1) -> list[Timing]:
    """Time the functions with CUDA events, in interleaved rounds, so that clock drift affects all of them equally."""
    for function in functions:
        for _ in range(warmup):
            function()
    samples: list[list[float]] = [[] for _ in functions]
    for _ in range(count):
        for function, taken in zip(functions, samples, strict=True):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            function()
            end.record()
            end.synchronize()
            taken.append(start.elapsed_time(end) / 1e3)
    return [Timing(statistics.median(s), min(s), max(s), count) for s in samples]
