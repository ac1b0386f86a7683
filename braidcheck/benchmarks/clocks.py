"""Reads a GPU's clocks, power and throttle reasons around each sample through NVML, and finds disturbed samples."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

# NVML throttle reasons that invalidate a sample: power cap, hardware slowdown, software and
# hardware thermal slowdown, power brake. Idle, application clocks and sync boost do not.
HARMFUL = 0x4 | 0x8 | 0x20 | 0x40 | 0x80
MAX_CLOCK_DEVIATION = 0.02  # share of the median clock by which a clock may differ; NVML counts in steps of 0.8%


class NoClocks(Exception):
    """The clocks cannot be read, so no sample can be trusted."""


@dataclass(frozen=True)
class State:
    """One reading: SM clock in MHz, power in watts, NVML's reasons for a lower clock as bits."""

    clock: int
    power: float
    reasons: int = 0


@dataclass(frozen=True)
class Sample:
    """Seconds of one call, and the states read while it ran and after it."""

    seconds: float
    states: tuple[State, ...]


class Reading(TypedDict):
    """Several samples: median, minimum and maximum seconds of those kept, how many were discarded, clock and power.
    ``disturbed``: most samples were disturbed, so none was discarded.
    """

    seconds: float
    low: float
    high: float
    kept: int
    discarded: int
    disturbed: bool
    clock: float
    power: float


class Monitor:
    """Reads the states of one GPU. Raises NoClocks if NVML is not available."""

    def __init__(self, uuid: str) -> None:
        """``uuid`` as torch gives it, without NVML's prefix."""
        try:
            import pynvml
        except ImportError:
            raise NoClocks("the clocks cannot be read: install nvidia-ml-py") from None
        self.nvml = pynvml
        try:
            pynvml.nvmlInit()
            self.handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            self.read()
        except pynvml.NVMLError as error:
            raise NoClocks(f"the clocks cannot be read: NVML says {error}") from None

    def read(self) -> State:
        """The state right now; takes some 10 microseconds."""
        nvml = self.nvml
        return State(
            clock=nvml.nvmlDeviceGetClockInfo(self.handle, nvml.NVML_CLOCK_SM),
            power=nvml.nvmlDeviceGetPowerUsage(self.handle) / 1e3,
            reasons=nvml.nvmlDeviceGetCurrentClocksEventReasons(self.handle),
        )


def kept(samples: Sequence[Sample]) -> list[Sample]:
    """The undisturbed samples, or all of them if those are fewer than half.

    A sample is disturbed if a state around it names a HARMFUL reason, or a clock more than AWAY from the median clock
    of all states.
    """
    if not samples:
        return []
    clock = statistics.median(state.clock for sample in samples for state in sample.states)
    calm = [sample for sample in samples if not any(_disturbs(state, clock) for state in sample.states)]
    return calm if 2 * len(calm) >= len(samples) else list(samples)


def _disturbs(state: State, clock: float) -> bool:
    return bool(state.reasons & HARMFUL) or abs(state.clock - clock) > MAX_CLOCK_DEVIATION * clock


def reading(samples: Sequence[Sample]) -> Reading:
    """The reading of some samples. Raises ValueError if there are none."""
    if not samples:
        raise ValueError("no sample was taken")
    calm = kept(samples)
    seconds = [sample.seconds for sample in calm]
    states = [state for sample in calm for state in sample.states]
    clock = statistics.median(state.clock for state in states)
    return {
        "seconds": statistics.median(seconds),
        "low": min(seconds),
        "high": max(seconds),
        "kept": len(calm),
        "discarded": len(samples) - len(calm),
        "disturbed": any(_disturbs(state, clock) for state in states),
        "clock": clock,
        "power": max(state.power for state in states),
    }
