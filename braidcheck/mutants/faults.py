"""The named mutants: faults seen in public engines and their kin, as patches in ``named/``, one file a part."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from braidcheck.mutants import reach
from braidcheck.mutants.mutant import PACKAGE, Mutant

NAMED = Path(__file__).parent / "named"


def named() -> list[Mutant]:
    """All named mutants; one whose patch does not apply exactly once says so in ``stale``."""
    return [mutant for path in sorted(NAMED.glob("*.toml")) for mutant in load(path)]


def load(path: Path, package: Path = PACKAGE) -> Iterator[Mutant]:
    """The mutants of one file. Raises KeyError or tomllib.TOMLDecodeError where it is malformed.

    Each has id, story, file, old and new: ``old`` must stand exactly once in ``file``; ``bug``, ``lane`` and ``killer``
    ("gate: subject") are optional.
    """
    for row in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
        source = package / row["file"]
        text = source.read_text(encoding="utf-8") if source.exists() else ""
        count = text.count(row["old"])
        function = reach.function_at(source, text[: text.find(row["old"])].count("\n") + 1) if count == 1 else None
        yield Mutant(
            id=row["id"],
            kind="named",
            part=path.stem,
            story=row["story"],
            file=row["file"],
            ops=reach.ops(row["file"], function),
            text=text.replace(row["old"], row["new"]) if count == 1 else "",
            bug=row.get("bug", ""),
            stale="" if count == 1 else f"its old text stands {count} times in {row['file']}, must stand once",
            lane=row.get("lane", ""),
            killer=tuple(row.get("killer", ": ").split(": ", 1)),
        )
