"""Reads Runs of format 1: files of a history never change, and artifacts may come from older trees. Standard library
only. The terms of that format, and today's terms:
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

FIELDS = {"sentence": "message", "numbers": "metrics", "floor": "higher_is_better"}
METRICS = {
    "stock_share": "baseline_error_ratio",
    "stock_relative": "baseline_relative",
    "of_matrix_rate": "of_gemm_peak",
}
STATUSES = {"not judged": "skipped"}
UNITS = {"share of the bound": "error ratio"}
OPS = {"attention_step": "decode_attention"}
_OP = re.compile(rf"\b({'|'.join(OPS)})\b")


def upgraded(run: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a run of format 1 in format 2. Raises KeyError, TypeError or AttributeError for anything else."""
    status = STATUSES.get(run["status"], run["status"])
    verdicts = [_renamed(_verdict(verdict)) for verdict in run["verdicts"]]
    return {**run, "format": 2, "status": status, "expected": _renamed(run["expected"]), "verdicts": verdicts}


def _verdict(verdict: Mapping[str, Any]) -> dict[str, Any]:
    if newer := verdict.keys() & FIELDS.values():
        raise KeyError(f"a verdict of format 1 has no {min(newer)}")
    body = {FIELDS.get(name, name): value for name, value in verdict.items()}
    body["status"] = STATUSES.get(body["status"], body["status"])
    body["unit"] = UNITS.get(body["unit"], body["unit"])
    body["metrics"] = {METRICS.get(name, name): value for name, value in body["metrics"].items()}
    return body


def _renamed(value: Any) -> Any:
    """``value`` with today's op names in all its strings."""
    if isinstance(value, str):
        return _OP.sub(lambda match: OPS[match[0]], value)
    if isinstance(value, Mapping):
        return {name: _renamed(item) for name, item in value.items()}
    return [_renamed(item) for item in value] if isinstance(value, list) else value


def mutant(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a kill matrix, whose mutant descriptions and ops may have their former names."""
    if row.get("outcome") == "same code":  # which format 1 excluded from the score
        row = {**row, "outcome": "survived", "witness": "none found: its cases' launches compiled to the same PTX"}
    return _renamed({"description" if name == "story" else name: value for name, value in row.items()})
