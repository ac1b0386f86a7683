"""Waivers: what a maintainer approved, why and until when, in a TOML file of the repository."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path

from braidcheck.errors import UserError

FILE = "waivers.toml"
FORM = 'a waiver is [[waiver]] with subject = "...", reason = "..." and expires = 2030-01-31'


def read(folder: Path) -> list[dict[str, str]]:
    """Subject, reason and ISO date of each waiver in ``folder``; none if there is no file. Raises UserError for a file
    that is not valid TOML, and for a waiver that is incomplete or listed twice.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None
    entries = body.get("waiver", [])
    if set(body) - {"waiver"} or not isinstance(entries, list):
        raise UserError(f"{path}: {FORM}")
    waivers = [_waiver(path, entry) for entry in entries]
    subjects = [waiver["subject"] for waiver in waivers]
    if twice := {subject for subject in subjects if subjects.count(subject) > 1}:
        raise UserError(f"{path}: {sorted(twice)[0]} is waived twice; keep one")
    return waivers


def _waiver(path: Path, entry: object) -> dict[str, str]:
    kinds = {"subject": str, "reason": str, "expires": date}
    if not isinstance(entry, dict) or set(entry) - set(kinds):
        raise UserError(f"{path}: {FORM}")
    for name, kind in kinds.items():
        value = entry.get(name)
        # To Python a datetime is a date; a waiver ends with a day.
        if type(value) is not kind or (isinstance(value, str) and not value.strip()):
            raise UserError(f"{path}: the waiver of {entry.get('subject', '?')} has no {name}; {FORM}")
    return {**entry, "expires": entry["expires"].isoformat()}
