"""Reads a CSV of nightly runs (``time,series,value[,control]``) as Runs, so that a trend has one kind of input."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path

from braidcheck.ci.history import timestamp
from braidcheck.errors import UserError
from braidcheck.result import Run, Status, Verdict

GATE = "imported"
COLUMNS = ("time", "series", "value")

# The name says whether a value is a rate, where higher is better; every other value is a duration, where lower is
# better.
_RATE = re.compile(
    r"""(/|\bper\ )s(ec|econd)?\b                           # tok/s, per_second
    | \b(tok|tokens|[kmgt]?i?b|[kmgt]?flops?)\ s\b          # gb_s
    | \b(rate|throughput|bandwidth|speedup|[tqf]ps|[kmgt]bps|[kmgt]?flops)\b""",
    re.VERBOSE,
)


def is_rate(series: str) -> bool:
    """Whether the name is that of a rate: a unit per second (``tok/s``, ``GB/s``, ``gb_s``, ``per_second``), or one of
    the words rate, throughput, bandwidth, speedup, tps, qps, fps, gbps and (t)flops."""
    return bool(_RATE.search(series.lower().replace("_", " ")))


def read(path: Path, hardware: str = "") -> list[Run]:
    """The nightly runs of a CSV, oldest first, as Runs of ``hardware`` (default: the file's name without suffix).
    ``time`` is ISO 8601 or a number; rows of one run share it. An empty or ``nan`` value is a failed measurement; so
    is, in a series with a control, an empty control. Raises UserError that names the line.
    """
    nights: dict[str, dict[str, Verdict]] = {}
    for line, row in _rows(path):
        where = f"{path}, line {line}"
        if row["time"] not in nights:
            _check_time(where, row["time"])
        verdict = _verdict(where, row)
        night = nights.setdefault(row["time"], {})
        if verdict.subject in night:
            raise UserError(f"{where}: {verdict.subject} has two values at {row['time']}")
        night[verdict.subject] = verdict
    machine = {"hardware": hardware or path.stem, "imported": path.name}
    made = [Run({"started": time, **machine}, (), tuple(night.values())) for time, night in nights.items()]
    return sorted(made, key=lambda run: timestamp(run.environment["started"]))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows with the right columns and number of cells, stripped of spaces."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            heads = [cell.strip() for cell in next(reader, [])]
            if tuple(heads) not in (COLUMNS, (*COLUMNS, "control")):
                raise UserError(f"{path}: the first line must be time,series,value or time,series,value,control")
            for cells in reader:
                if cells and len(cells) != len(heads):
                    raise UserError(f"{path}, line {reader.line_num}: {len(cells)} cells, not {len(heads)}")
                if cells:
                    yield reader.line_num, dict(zip(heads, map(str.strip, cells), strict=True))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8: {error}") from None


def _check_time(where: str, text: str) -> None:
    try:
        timestamp(text)
    except ValueError:
        raise UserError(f"{where}: {text!r} is neither an ISO 8601 time nor a number") from None


def _verdict(where: str, row: dict[str, str]) -> Verdict:
    if not row["series"]:
        raise UserError(f"{where}: the series has no name")
    value, control = _number(where, row["value"]), _number(where, row.get("control", ""))
    message = "imported" if value else "the measurement failed: it has no value"
    rate, metrics = is_rate(row["series"]), {"control": control} if control else {}
    return Verdict(GATE, row["series"], Status.SKIPPED, message, value=value, higher_is_better=rate, metrics=metrics)


def _number(where: str, text: str) -> float | None:
    if text.lower() in ("", "nan"):
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UserError(f"{where}: {text!r} is not a duration or rate: give a number above 0")
    return number
