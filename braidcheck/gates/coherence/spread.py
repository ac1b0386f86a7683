"""Shared statistics of the checks: ratios and means of per-token evidence, with confidence bounds resampled by
document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braidcheck.gates.coherence.evidence import Document, Evidence
from braidcheck.gates.coherence.finding import InsufficientData
from braidcheck.result import Status

RATIO = 1.5
"""The design: "upper bound of mean KL at most 1.5x the floor's", the floor being HF's own bfloat16."""

MARGIN_SIGMA = 2.0
"""Two logits, each off by bfloat16's worst error there, can swap only within twice that error."""

MIN_DOCUMENTS, MIN_TOKENS = 4, 1000
RESAMPLES = 2000


@dataclass(frozen=True)
class Ratio:
    """A ratio to the floor, with its 95% upper bound."""

    value: float
    upper: float

    @classmethod
    def of(cls, engine_sums: Sequence[float], floor_sums: Sequence[float]) -> Ratio:
        """Ratio of the sums, resampled by unit in pairs."""
        of_engine, floor = np.asarray(engine_sums, dtype=float), np.asarray(floor_sums, dtype=float)
        if len(of_engine) < MIN_DOCUMENTS:
            raise InsufficientData(
                Status.INCONCLUSIVE, f"{len(of_engine)} documents: at least {MIN_DOCUMENTS} are needed"
            )
        if floor.sum() <= 0:
            raise InsufficientData(Status.INCONCLUSIVE, "HF bfloat16 equals HF float32: there is no noise floor")
        resampled = draws(len(of_engine))
        upper = np.quantile(resampled @ of_engine / (resampled @ floor), 0.95)
        return cls(float(of_engine.sum() / floor.sum()), float(upper))

    @property
    def status(self) -> Status:
        """Fail if the ratio is over the limit; inconclusive if only its upper bound is: that takes more text."""
        if self.value > RATIO:
            return Status.FAIL
        return Status.PASS if self.upper <= RATIO else Status.INCONCLUSIVE


@dataclass(frozen=True)
class Mean:
    """A mean per token with its two one-sided 95% bounds."""

    low: float
    value: float
    high: float


def mean(sums: Sequence[float], counts: Sequence[int]) -> Mean:
    """Mean per token of documents' sums, resampled by document."""
    totals, tokens = np.asarray(sums, dtype=float), np.asarray(counts, dtype=float)
    resampled = draws(len(totals))
    low, high = np.quantile(resampled @ totals / (resampled @ tokens), [0.05, 0.95])
    return Mean(float(low), float(totals.sum() / tokens.sum()), float(high))


def draws(units: int) -> np.ndarray:
    """How often each unit is drawn in each resample [RESAMPLES, units]; seeded, so that verdicts are reproducible."""
    return np.random.default_rng(0).multinomial(units, np.full(units, 1 / units), size=RESAMPLES)


def whole_documents(evidence: Evidence) -> list[Document]:
    """The evidence's documents. Raises InsufficientData if they are too few for any statement."""
    documents = evidence["documents"]
    tokens = sum(row["tokens"] for row in documents)
    if len(documents) < MIN_DOCUMENTS or tokens < MIN_TOKENS:
        need = f"{MIN_DOCUMENTS} documents and {MIN_TOKENS} tokens are needed"
        raise InsufficientData(Status.INCONCLUSIVE, f"{len(documents)} documents of {tokens} tokens in all: {need}")
    return documents


def column(documents: Sequence[Mapping[str, Any]], name: str) -> list[np.ndarray]:
    """One array per document. Raises InsufficientData, as a failure, at the first number that is not finite."""
    return [finite(row[name], f" in document {number}") for number, row in enumerate(documents)]


def finite(values: Sequence[float | None], where: str = "") -> np.ndarray:
    """The values as float64. Raises InsufficientData, as a failure, if one is not finite; ``where`` says which
    values."""
    bad = [index for index, value in enumerate(values) if value is None or not np.isfinite(value)]
    if bad:
        message = f"{len(bad)} of {len(values)} values{where} are NaN or infinite, first at {bad[0]}"
        raise InsufficientData(Status.FAIL, message)
    return np.asarray(values, dtype=float)
