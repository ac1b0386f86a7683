"""Change-point detection: finds the nightly runs at which a noisy series changed its level.

Search, then test. ruptures proposes too many cuts (optimal partitioning under an L2 cost); the weakest is dropped until
all that are left differ by the effect floor and by more than the series' own noise explains. The noise is taken to be
AR(1) with spikes: its spread and correlation are read from differences between nights, which a change of level hardly
touches; a step is then fitted by generalised least squares, which for AR(1) is least squares on innovations.

Each night looks again, so a level of significance is spent over the nights after a change: little on the third night,
where a large change needs no leniency, most on the fifth, then ever less, so that an old wiggle cannot come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from ruptures import KernelCPD
from scipy.ndimage import median_filter
from scipy.special import stdtr

Array: TypeAlias = NDArray[np.float64]

FLOOR = 0.01  # minimum reported change
CONFIRM = 3  # runs that must agree on a new level
MIN_NIGHTS = 10  # with fewer runs the noise cannot be estimated
LEVEL = 5e-4  # chance of a false change on the night that is given most
BEST_NIGHT = 5  # that night, counted from the change
PENALTY = 8.0  # of the search, in variances a cut: below what the test asks for, so that the test decides
AGREE = 3.5  # sigmas from the median within which a run agrees with its level; further out is a spike
SPIKE = 5.0  # sigmas from the running median
RESOLUTION = 1e-3  # clocks are not precise below this
UNKNOWN = 0.5  # the assumed correlation if there are too few runs to estimate it
_UPPER = 0.8  # a quantile of absolute differences: a fifth of them may be steps
_NORMAL = 1.2816  # the same quantile of a standard normal


@dataclass(frozen=True)
class Noise:
    """Standard deviation (of logarithms) and correlation of neighbouring runs."""

    sigma: float
    phi: float


@dataclass(frozen=True)
class Change:
    """A new level from run ``index`` on; ``step`` is the difference of logarithms and ``p`` its two-sided significance.
    The old level began at ``start``, the new one ends before ``end``."""

    start: int
    index: int
    end: int
    step: float
    p: float

    @property
    def confidence(self) -> float:
        """1 - the probability that noise makes such a step at any run of the two levels (a union bound)."""
        return max(0.0, 1 - self.p * (self.end - self.start))


def find(logs: Array) -> list[Change]:
    """The changes of level in a series of logarithms, one value per run, oldest first."""
    if len(logs) < MIN_NIGHTS:
        return []
    spiky, calm = _spikes(logs)
    noise = _noise(logs, spiky)
    search = KernelCPD(kernel="linear", min_size=CONFIRM).fit(calm / noise.sigma)
    cuts = [0, *map(int, search.predict(pen=PENALTY))]
    tried: dict[tuple[int, int, int], Change] = {}
    while True:
        triples = list(zip(cuts, cuts[1:], cuts[2:], strict=False))
        for triple in triples:
            if triple not in tried:
                tried[triple] = _test(logs, *triple, noise)
        changes = [tried[triple] for triple in triples]
        weakness, weakest = max(((_weakness(c, len(logs)), c.index) for c in changes), default=((False, 0.0), 0))
        if weakness <= (False, 1.0):
            return changes
        cuts.remove(weakest)


def told(logs: Array, index: int, noise: Noise) -> bool:
    """Whether a change from run ``index`` on would be reported if that run and the noise were known beforehand."""
    return _weakness(_test(logs, 0, index, len(logs), noise), len(logs)) <= (False, 1.0)


def _weakness(change: Change, nights: int) -> tuple[bool, float]:
    """Whether it is below the effect floor, then its significance as a multiple of the limit: above (False, 1) it is
    dropped."""
    age = nights - change.index
    permitted = LEVEL * min((age / BEST_NIGHT) ** 4, (BEST_NIGHT / age) ** 3)
    return abs(np.expm1(change.step)) < FLOOR, change.p / permitted


def _spikes(logs: Array) -> tuple[NDArray[np.bool_], Array]:
    """Which runs are isolated outliers, and the series with those moved to their neighbours' level."""
    centre = median_filter(logs, 7, mode="reflect")
    off = np.abs(logs - centre)
    spiky = off > SPIKE * max(np.quantile(off, _UPPER) / _NORMAL, RESOLUTION)
    return spiky, np.where(spiky, centre, logs)


def _noise(logs: Array, spiky: NDArray[np.bool_]) -> Noise:
    """From the variogram: distant runs differ by all of the noise, neighbours only by its uncorrelated part."""
    far = min(8, len(logs) // 5)
    sigma = max(_spread(logs, spiky, range(max(1, far // 2), far + 1)), RESOLUTION)
    if far < 4:
        return Noise(sigma, UNKNOWN)
    return Noise(sigma, float(np.clip(1 - (_spread(logs, spiky, [1]) / sigma) ** 2, 0, 0.9)))


def _spread(logs: Array, spiky: NDArray[np.bool_], lags: range | list[int]) -> float:
    """The standard deviation of one run, from the differences between runs ``lags`` apart."""
    apart = [np.abs(logs[lag:] - logs[:-lag])[~(spiky[lag:] | spiky[:-lag])] for lag in lags]
    differences = np.concatenate(apart)
    return float(np.quantile(differences, _UPPER)) / _NORMAL / 2**0.5 if len(differences) else 0.0


def _test(logs: Array, start: int, index: int, end: int, noise: Noise) -> Change:
    """Fit a step at ``index`` to the runs that agree with either level; without agreement there is no step."""
    sides = [_agreeing(logs, *side, noise.sigma) for side in ((start, index), (index, end))]
    if min(map(len, sides)) < CONFIRM:
        return Change(start, index, end, 0.0, 1.0)
    at = np.concatenate(sides)
    shared = noise.phi ** np.diff(at)
    scale = 1 / np.sqrt(1 - shared**2)

    def innovations(values: Array) -> Array:
        return np.concatenate([values[:1], (values[1:] - shared * values[:-1]) * scale])

    value, after, always = innovations(logs[at]), innovations((at >= index) * 1.0), innovations(np.ones(len(at)))
    determinant = (always @ always) * (after @ after) - (always @ after) ** 2
    step = ((always @ always) * (after @ value) - (always @ after) * (always @ value)) / determinant
    error = noise.sigma * ((always @ always) / determinant) ** 0.5
    # Sigma is an estimate too, with about half as many degrees of freedom as there are runs.
    return Change(start, index, end, float(step), float(2 * stdtr(len(logs) / 2, -abs(step) / error)))


def _agreeing(logs: Array, start: int, end: int, sigma: float) -> NDArray[np.intp]:
    side = logs[start:end]
    return start + np.flatnonzero(np.abs(side - np.median(side)) <= AGREE * sigma)
