"""A history: Runs in a folder, one immutable JSON file each (standard library only)."""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from braidcheck.errors import UserError
from braidcheck.result import Run, write_atomically

FOLDER = Path("braidcheck-history")
YEARS = range(1970, 2200)  # of any measurement; other years overflow the time axis of charts


@dataclass(frozen=True)
class Entry:
    """One Run of a history: its file and that file's text."""

    path: Path
    text: str
    run: Run


def timestamp(text: str) -> float:
    """``text`` as a time: a number is itself, an ISO 8601 time (UTC if without a zone) its seconds since 1970. Raises
    ValueError for anything else."""
    try:
        number = float(text)
    except ValueError:
        date = datetime.fromisoformat(text)
        if date.year not in YEARS:
            raise ValueError(f"{text!r} is not a possible time of a measurement") from None
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a time")
    return number


def hardware(environment: Mapping[str, Any]) -> str:
    """The machine of a Run; Runs of different hardware are never compared. It is the Run's ``hardware`` if it has one,
    else its GPUs and processor, without a GPU also the number of cores.
    """
    if named := environment.get("hardware"):
        return str(named)
    gpus = [" ".join(str(part) for part in gpu.values()) for gpu in environment.get("gpus") or ()]
    cores = [] if gpus else [f"{environment.get('cpus', 'unknown')} cores"]
    return ", ".join([*gpus, str(environment.get("processor", "unknown")), *cores])


def add(path: Path, folder: Path) -> Path:
    """Copy the Run in ``path`` into the history ``folder`` and return the new file. Raises UserError if it is not a
    Run."""
    entry = _load(path)
    (added,) = store({name(entry.run): entry.text}, folder)
    return added


def read(folder: Path) -> list[Entry]:
    """All Runs of a history, oldest first. Raises UserError if there is no history, or for a file that is not a Run."""
    if not folder.is_dir():
        raise UserError(f"no history in {folder}")
    entries = [_load(path) for path in sorted(folder.glob("*.json")) if not path.name.startswith(".")]
    return sorted(entries, key=lambda entry: timestamp(entry.run.environment["started"]))


def runs(folder: Path) -> list[Run]:
    """The Runs of a history, oldest first; a Run that was added twice is listed once."""
    return list({_digest(entry.text): entry.run for entry in read(folder)}.values())


def age(folder: Path, now: datetime) -> float | None:
    """Hours from the newest Run of a history to ``now``; None if there is no Run. Raises UserError like ``read``."""
    entries = read(folder)
    return (now.timestamp() - timestamp(entries[-1].run.environment["started"])) / 3600 if entries else None


def merge(sources: Iterable[Path], folder: Path) -> list[Path]:
    """Copy Runs that ``folder`` lacks from other histories and return the new files. File names identify Runs.

    Raises UserError, with nothing copied, if a source is broken or two files of one name differ.
    """
    texts: dict[str, str] = {}
    for entry in (entry for source in sources for entry in read(source)):
        target = folder / entry.path.name
        there = texts.get(target.name) or (target.read_text(encoding="utf-8") if target.exists() else entry.text)
        if there != entry.text:
            raise UserError(f"{entry.path} differs from another file of the same name: files of a history never change")
        if not target.exists():
            texts[target.name] = entry.text
    return store(texts, folder)


def store(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write ``texts`` by name into ``folder``, all or none. Raises UserError if the folder cannot be written."""
    written: list[Path] = []
    try:
        for file, text in texts.items():
            write_atomically(folder / file, text)
            written.append(folder / file)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"cannot write to {folder}: {error.strerror}; give another folder") from None
        raise
    return written


def name(run: Run) -> str:
    """A unique file name: time, commit, hardware, and a random part."""
    seen = run.environment
    time = re.sub(r"[^\w.]", "", seen["started"].replace("+00:00", "Z"))
    commit = re.sub(r"\W", "", str(seen.get("commit") or ""))[:12] or "nocommit"
    return f"{time}-{commit}-{_digest(hardware(seen))[:8]}-{secrets.token_hex(6)}.json"


def _load(path: Path) -> Entry:
    try:
        text = path.read_text(encoding="utf-8")
        run = Run.from_json(text)
        timestamp(run.environment["started"])
        name(run)  # can it be given one?
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except json.JSONDecodeError:
        raise UserError(f"{path} is not complete JSON: give a run.json") from None
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path} does not say where and when it ran: give the run.json of a gate run") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from None
    return Entry(path, text, run)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
