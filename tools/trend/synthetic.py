"""Histories of which the truth is known: noise, spikes, steps, ramps, missing nights, moves of driver or control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braidcheck.ci.trend import table
from braidcheck.result import Run, Status, Verdict

Array = NDArray[np.float64]

NIGHTS = 140
AT = 100  # the first night of a change
STEP = 0.02


@dataclass(frozen=True)
class Scenario:
    """How a history looks: ``sigma`` (fraction) and ``phi`` of its AR(1) noise, the share of nights that spike by 3 to
    15%, how many nights a change takes to come about (1 is a step), the share of nights that are missing."""

    name: str
    sigma: float
    phi: float = 0.0
    spikes: float = 0.0
    ramp: int = 1
    missing: float = 0.0

    def histories(self, count: int, step: float, seed: int = 0) -> Iterator[tuple[Array, int, int]]:
        """``count`` histories as logarithms, with the positions of the first night of the change and of the first
        that has all of it."""
        random = np.random.default_rng([seed, int(step > 0)])
        for _ in range(count):
            logs = self._noise(random)
            logs[AT:] += step * np.minimum(np.arange(1, NIGHTS - AT + 1) / self.ramp, 1)
            kept = np.flatnonzero(random.random(NIGHTS) >= self.missing)
            start, full = np.searchsorted(kept, (AT, AT + self.ramp - 1))
            yield logs[kept], int(start), int(full)

    def _noise(self, random: np.random.Generator) -> Array:
        logs = self.sigma * random.normal(size=NIGHTS)
        for night in range(1, NIGHTS):
            logs[night] = self.phi * logs[night - 1] + (1 - self.phi**2) ** 0.5 * logs[night]
        return logs + (random.random(NIGHTS) < self.spikes) * random.uniform(0.03, 0.15, NIGHTS)


LEVELS = (0.004, 0.005, 0.007, 0.01)
IID = tuple(Scenario(f"iid {sigma:.1%}", sigma) for sigma in LEVELS)
HARD = tuple(Scenario(f"AR(1)+spikes {sigma:.1%}", sigma, phi=0.5, spikes=0.05) for sigma in LEVELS)
OTHER_SCENARIOS = (
    Scenario("AR(1) 0.5%", 0.005, phi=0.5),
    Scenario("spikes 0.5%", 0.005, spikes=0.05),
    Scenario("ramp over 10 nights 0.5%", 0.005, ramp=10),
    Scenario("a fifth missing 0.5%", 0.005, phi=0.5, spikes=0.05, missing=0.2),
)


def moved(cause: str, seed: int, step: float = STEP) -> list[Run]:
    """Runs, up to ten nights after the change, in which the kernel slowed down by itself or with a new driver, or
    its control sped up."""
    random = np.random.default_rng([seed, 7])
    kernel, control = np.exp(0.005 * random.normal(size=(2, AT + 10)))
    drift = np.exp(np.cumsum(0.003 * random.normal(size=AT + 10)))  # of the machine: both follow it
    (control if cause == "control" else kernel)[AT:] *= 1 - step if cause == "control" else 1 + step
    return [
        _run(night, "2" if cause == "environment" and night >= AT else "1", value, frozen)
        for night, (value, frozen) in enumerate(zip(kernel * drift, control * drift, strict=True))
    ]


def _run(night: int, driver: str, value: float, control: float) -> Run:
    verdict = Verdict(table.GATE, "kernel", Status.SKIPPED, "made up", value=value, metrics={"control": control})
    return Run({"started": str(night), "hardware": "none", "driver": driver}, (), (verdict,))
