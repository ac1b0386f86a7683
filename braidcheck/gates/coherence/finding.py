"""The result of a check of the coherence gate: a Verdict without its names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from braidcheck.result import Status


@dataclass(frozen=True)
class Finding:
    """The result of one check: a Verdict without its names."""

    status: Status
    message: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)


class InsufficientData(Exception):
    """A check cannot use its evidence; carries the Finding to return instead."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(status, message)
