"""What a check of the coherence gate gives: a Verdict without its names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from braidcheck.result import Status


@dataclass(frozen=True)
class Finding:
    """What one check found: a Verdict without its names."""

    status: Status
    message: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)


class InsufficientData(Exception):
    """Evidence that a check cannot use: carries the Finding to give instead."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(status, message)
