"""Times one call as a CUDA graph of launches over rotating copies of its inputs, together larger than the L2 cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from braidcheck.benchmarks.clocks import Monitor, Reading, Sample, reading

if TYPE_CHECKING:  # the base commit, into which this file is copied, may be older
    from braidcheck.op import Inputs

MIN_COPIES, MAX_COPIES = 8, 512  # copies of the inputs
TIMES_L2 = 4  # touched bytes of all copies over the size of the L2 cache
MEMORY = 12 * 2**30  # maximum bytes of the copies
SAMPLE = 1e-3  # minimum seconds of one sample
WARM = 3e-3  # seconds of replays before the first sample of a turn
SAMPLES = 5  # in one turn
QUEUED = 1_000_000  # GPU cycles for which the stream waits, so that all replays are queued before the first runs


class Turn(Reading):
    """The reading of one round; how many copies of the inputs it used, and whether the cache was cold."""

    copies: int
    cold: bool


class Replay:
    """A call that is ready to be timed: its graph and the graph's inputs and outputs."""

    def __init__(self, call: Callable[..., Any], inputs: Mapping[str, Any], touched: int) -> None:
        """``call(**inputs)`` moves ``touched`` bytes; the tensors of ``inputs`` may be on any device, their copies are
        on the GPU."""
        device = torch.cuda.get_device_properties(0)
        self.monitor = Monitor(str(device.uuid))
        self.count = copies(inputs, touched, device.L2_cache_size)
        self.cold = self.count * touched > TIMES_L2 / 2 * device.L2_cache_size
        inputs = _on_gpu(inputs)  # one slow copy from the CPU; the others are made on the GPU
        sets = [inputs, *(_on_gpu(inputs) for _ in range(self.count - 1))]
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                call(**sets[0])
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            # Keep every output alive: a call that reused the last one's memory would write into the cache.
            self.kept = sets, [call(**one) for one in sets]
        self.replays = 1
        self._elapsed()
        self.replays = max(1, math.ceil(SAMPLE / (self._elapsed()[0] * self.count)))

    def turn(self) -> Turn:
        """Warm up, then take SAMPLES samples; the reading, the number of copies, and whether the cache was cold."""
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
    """How many copies of the inputs to rotate through, for a cache of so many bytes."""
    size = sum(value.nbytes for value in inputs.values() if isinstance(value, Tensor))
    num_copies = math.ceil(TIMES_L2 * cache / max(1, touched))
    return max(MIN_COPIES, min(num_copies, MAX_COPIES, MEMORY // max(1, size)))


def _on_gpu(inputs: Mapping[str, Any]) -> Inputs:
    return {name: value.to("cuda", copy=True) if isinstance(value, Tensor) else value for name, value in inputs.items()}
