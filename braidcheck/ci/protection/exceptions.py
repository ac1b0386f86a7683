"""The exceptions that a change adds: equivalent mutants, static exceptions, worse accepted baselines, configuration."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from braidcheck import checksum, config
from braidcheck.gates.static_rules import RULES
from braidcheck.static.baseline import SCHEMA

EQUIVALENT = "braidcheck/mutants/equivalent.toml"
STATIC = "braidcheck/static/exceptions.toml"
BASELINES = "braidcheck/static/baselines"

Rows = Mapping[str, Mapping[str, Any]]


def added(base: Path, change: Path) -> dict[str, str]:
    """Exceptions of the change that the base does not have: the reason by name. Raises ValueError if a list cannot be
    read.
    """
    excuses: dict[str, str] = {}
    for what, name, read in (("equivalent mutant", EQUIVALENT, _mutants), ("static exception", STATIC, _spills)):
        before, after = (read(_toml(tree / name)) for tree in (base, change))
        excuses |= {f"{what} {entry}": reason for entry, reason in after.items() if entry not in before}
    for file in sorted((base / BASELINES).glob("*.json")):
        excuses |= dict(_worse(file.stem, _rows(file), _rows(change / BASELINES / file.name)))
    return excuses


def configured(base: Path, change: Path) -> dict[str, str]:
    """Keys of ``[tool.braidcheck]`` that can change what passes and differ from the base: both values. Raises UserError
    for a table that is not valid.
    """
    before, after = config.protected(base), config.protected(change)
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return {name: f"the change has {_value(after, name)}, the base {_value(before, name)}" for name in names}


def _value(table: Mapping[str, Any], name: str) -> str:
    return repr(table[name]) if name in table else "not set"


def _mutants(body: Mapping[str, Any]) -> dict[str, str]:
    return {mutant: reason for reason, mutants in body.items() for mutant in mutants}


def _spills(body: Mapping[str, Any]) -> dict[str, str]:
    return {f"{triton}: {name}": reason for triton, held in body.items() for name, reason in held.items()}


def _worse(baseline: str, before: Rows, after: Rows) -> Iterator[tuple[str, str]]:
    """Per op and target, what the change's baseline accepts and the static gate would fail against the base's."""
    messages_by_name: dict[str, list[str]] = {}
    for key, old in before.items():
        op, target, kernel, configuration = key.split(" | ")
        messages = [finding.message for rule in RULES if key in after and (finding := rule(after[key], old))]
        messages += [] if key in after else ["no longer in the baseline"]
        for one in messages:
            messages_by_name.setdefault(f"{baseline} {op}[{target}]", []).append(f"{kernel}, {configuration}: {one}")
    for name, messages in messages_by_name.items():
        yield f"baseline {name}", messages[0] + (f"; {len(messages) - 1} more" if len(messages) > 1 else "")


def _toml(path: Path) -> Mapping[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _rows(path: Path) -> Rows:
    return checksum.opened(path.read_text(encoding="utf-8"), SCHEMA)["rows"] if path.exists() else {}
