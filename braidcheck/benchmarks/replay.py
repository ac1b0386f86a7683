"""One call as a CUDA graph of launches over rotated copies of its inputs, larger than the L2 cache together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from braidcheck.benchmarks.clocks import Monitor, Reading, Sample, reading

if TYPE_CHECKING:  # a base that this file is laid over may be older
    from braidcheck.op import Inputs

MIN_COPIES, MAX_COPIES = 8, 512  # copies of the inputs
TIMES_L2 = 4  # what the copies' touched bytes together exceed the L2 cache by
MEMORY = 12 * 2**30  # bytes that the copies may take
SAMPLE = 1e-3  # seconds that one sample lasts at the least
WARM = 3e-3  # seconds of replays before the first sample of a turn
SAMPLES = 5  # in one turn
QUEUED = 1_000_000  # GPU cycles that the stream waits, so that every replay is queued before the first runs


class Turn(Reading):
    """One turn's reading; how many copies of the inputs it went over, and whether the cache was cold."""

    copies: int
    cold: bool


class Replay:
    """A call ready to be timed: its graph and the graph's inputs and outputs."""

    def __init__(self, call: Callable[..., Any], inputs: Mapping[str, Any], touched: int) -> None:
        """``call(**inputs)`` moves ``touched`` bytes; tensors in ``inputs`` may lie anywhere, their copies on the
        GPU."""
        device = torch.cuda.get_device_properties(0)
        self.monitor = Monitor(str(device.uuid))
        self.count = copies(inputs, touched, device.L2_cache_size)
        self.cold = self.count * touched > TIMES_L2 / 2 * device.L2_cache_size
        inputs = _on_gpu(inputs)  # once from the CPU, which is slow; the other copies are made there
        sets = [inputs, *(_on_gpu(inputs) for _ in range(self.count - 1))]
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                call(**sets[0])
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            # Every output lives on: a call that wrote where the last one did would write into the cache.
            self.kept = sets, [call(**one) for one in sets]
        self.replays = 1
        self._elapsed()
        self.replays = max(1, math.ceil(SAMPLE / (self._elapsed()[0] * self.count)))

    def turn(self) -> Turn:
        """One turn's reading (``clocks.reading``): warm up, then SAMPLES samples; plus copies, and whether cold."""
        for _ in range(max(1, math.ceil(WARM / SAMPLE)) * self.replays):
            self.graph.replay()
        samples = [Sample(*self._elapsed()) for _ in range(SAMPLES)]
        return {**reading(samples), "copies": self.count, "cold": self.cold}

    def _elapsed(self) -> tuple[float, tuple[Any, ...]]:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(QUEUED)
        start.record()
        for _ in range(self.replays):
            self.graph.replay()
        end.record()
        during = self.monitor.read()
        end.synchronize()
        states = during, self.monitor.read()
        return start.elapsed_time(end) / 1e3 / (self.replays * self.count), states


def copies(inputs: Mapping[str, Any], touched: int, cache: int) -> int:
    """How many copies of the inputs to rotate over, for a cache of so many bytes."""
    size = sum(value.nbytes for value in inputs.values() if isinstance(value, Tensor))
    wanted = math.ceil(TIMES_L2 * cache / max(1, touched))
    return max(MIN_COPIES, min(wanted, MAX_COPIES, MEMORY // max(1, size)))


def _on_gpu(inputs: Mapping[str, Any]) -> Inputs:
    return {name: value.to("cuda", copy=True) if isinstance(value, Tensor) else value for name, value in inputs.items()}
