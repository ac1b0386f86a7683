"""Published error ratios: the worst of each kernel, PyTorch baseline and equivalent implementation, kept in a file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.table import Table

from braidcheck import checksum, environment
from braidcheck.errors import UserError
from braidcheck.gates.soak import LIMIT
from braidcheck.gates.soak.evidence import Evidence, FunctionRow
from braidcheck.report.terminal import console
from braidcheck.result import write_atomically

FILE = environment.PACKAGE / "mutants" / "bounds.json"
FORMAT = 1
SCHEMA = "bounds 1"


def read() -> dict[str, dict[str, Mapping[str, Any]]]:
    """The published measurements by lane and op, each with date, machine, software, commit and command. Raises
    UserError if the file is missing or of another format.
    """
    if not FILE.exists():
        raise UserError("no error ratios are published yet; measure and publish them with: braidcheck soak --save")
    try:
        body = checksum.opened(FILE.read_text(encoding="utf-8"), SCHEMA)
    except ValueError as error:
        raise UserError(f"{FILE.name} cannot be read: {error}; publish it again") from None
    if body.get("format") != FORMAT:
        raise UserError(f"{FILE.name} is of format {body.get('format')}, this braidcheck reads {FORMAT}")
    return body["lanes"]


def publish(lane: str, seen: Iterable[Evidence], command: str) -> None:
    """Write a soak's measurements of ``lane`` into the file, replacing those ops' entries; other ops and lanes stay."""
    lanes = read() if FILE.exists() else {}
    facts = environment.fingerprint()
    how = {
        "date": facts["started"][:10],
        "machine": _machine(lane, facts),
        "software": ", ".join(f"{name} {facts['libraries'][name]}" for name in ("torch", "triton")),
        "commit": facts["commit"],
        "command": command,
    }
    entries = lanes.get(lane, {}) | {one["op"]: {**how, **one, "functions": _plain(one["functions"])} for one in seen}
    lanes[lane] = dict(sorted(entries.items()))
    text = json.dumps({"format": FORMAT, "lanes": dict(sorted(lanes.items()))}, indent=1) + "\n"
    write_atomically(FILE, checksum.seal(text, SCHEMA))


def _plain(rows: Iterable[FunctionRow]) -> list[Mapping[str, object]]:
    """Infinite error ratios as strings, so that any JSON parser can read them."""
    return [
        {**row, "error_ratio": row["error_ratio"] if math.isfinite(row["error_ratio"]) else str(row["error_ratio"])}
        for row in rows
    ]


def _machine(lane: str, facts: Mapping[str, Any]) -> str:
    if lane == "gpu":
        return facts["gpus"][0]["name"]
    return f"{facts['cpus']} {facts['processor']} cores"


def show(lanes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Print one row per op and function, one column per lane, and how each lane's numbers were measured."""
    screen = console()
    table = Table("op", "function", *lanes, box=box.SIMPLE_HEAD, pad_edge=False)
    for op in sorted({op for entries in lanes.values() for op in entries}):
        error_ratios = {lane: _error_ratios(entries[op]) for lane, entries in lanes.items() if op in entries}
        for name in dict.fromkeys(name for of_lane in error_ratios.values() for name in of_lane):
            table.add_row(op, name, *(error_ratios.get(lane, {}).get(name, "") for lane in lanes))
        table.add_section()
    screen.print(table)
    screen.print(f"worst error ratio; equivalent implementations stay below {LIMIT}, the gate is at 1")
    for lane, entries in lanes.items():
        for line in dict.fromkeys(_how(lane, entry) for entry in entries.values()):
            screen.print(line, soft_wrap=True)


def _error_ratios(entry: Mapping[str, Any]) -> dict[str, str]:
    return {row["function"]: f"{float(row['error_ratio']):.3f}" for row in entry["functions"]}


def _how(lane: str, entry: Mapping[str, Any]) -> str:
    if "date" not in entry:  # a soak that has just run prints this itself
        return f"{lane}: {entry['pairs']} pairs per op"
    made = f"{entry['pairs']} pairs per op, {entry['date']}, {entry['machine']}, {entry['software']}"
    return f"{lane}: {made}, commit {entry['commit'][:12] or 'unknown'}: {entry['command']}"
