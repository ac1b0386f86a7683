"""The rules that the benchmark compares: braidcheck's, simple ones that others use, and Apache Otava as an oracle."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruptures import KernelCPD

from braidcheck.ci.trend import changes

Array = NDArray[np.float64]
Rule = Callable[[Array], list[int]]  # logarithms up to tonight -> the nights from which it says that something changed
Nights = list[list[int]]  # what a rule said, night by night


def braidcheck_rule(logs: Array) -> list[int]:
    """``braidcheck trend``."""
    return [change.index for change in changes.find(logs)]


def bare_search(logs: Array) -> list[int]:
    """ruptures alone: L2 cost, BIC penalty, noise from neighbouring nights, a floor of 1% and three nights."""
    sigma = float(np.median(np.abs(np.diff(logs)))) / 0.6745 / 2**0.5
    search = KernelCPD(kernel="linear", min_size=3).fit(logs / sigma)
    cuts = [0, *search.predict(pen=2 * np.log(len(logs)))]
    means = [logs[a:b].mean() for a, b in pairwise(cuts)]
    return [int(cut) for cut, (a, b) in zip(cuts[1:], pairwise(means), strict=False) if abs(b - a) >= 0.01]


def t_test(logs: Array) -> list[int]:
    """Perfherder's numbers: 12 nights before and after, t of at least 7, and 2%."""
    back, fore = logs[-24:-12], logs[-12:]
    error = ((back.var(ddof=1) + fore.var(ddof=1)) / 12) ** 0.5 if len(back) == 12 else np.inf
    step = abs(fore.mean() - back.mean()) if len(back) else 0.0
    return [len(logs) - 12] if step >= 0.02 and step >= 7 * error else []


def threshold(logs: Array) -> list[int]:
    """Tonight is 2% above or below the median of the ten nights before."""
    return [len(logs) - 1] if abs(logs[-1] - np.median(logs[-11:-1])) >= 0.02 else []


RULES: dict[str, Rule] = {
    "braidcheck": braidcheck_rule,
    "ruptures, 1% floor": bare_search,
    "t-test (Perfherder's)": t_test,
    "2% off the last 10": threshold,
}

# Otava pins libraries that we do not, so it is asked in an environment of its own.
_OTAVA = """
import json, sys
from otava.analysis import compute_change_points as find
def night(values):
    return [int(p.index) for p in find(list(values), min_magnitude=0.01)[0] if len(values) - p.index >= 3]
asked = json.load(sys.stdin)
json.dump([[night(values[:n]) for n in range(first, last + 1)] for values, first, last in asked], sys.stdout)
"""


def otava(python: str, spans: Sequence[tuple[Array, int, int]]) -> list[Nights]:
    """What Otava, with a floor of 1% and three confirming nights, says of each (series, first night, last night).

    ``python`` is the interpreter of an environment that has apache-otava. Raises CalledProcessError where it has not.
    """
    body: list[Any] = [(np.exp(logs).tolist(), first, last) for logs, first, last in spans]
    answer = subprocess.run(
        [python, "-c", _OTAVA], input=json.dumps(body), capture_output=True, text=True, check=True
    )  # fmt: skip
    return json.loads(answer.stdout)
