"""The named mutants: faults seen in public engines and their kin, as patches in TOML files.

An op's lie in its folder (``kernels/<op>/mutants.toml``), those of the other parts in ``named/``, one file a part.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from braidcheck.mutants import affected_ops
from braidcheck.mutants.mutant import PACKAGE, Mutant
from braidcheck.mutants.patch import Patch, StalePatch

NAMED = Path(__file__).parent / "named"
OF_DETECTOR = {"sizes": "size", "calls": "state", "races": "race", "step_races": "race"}


def named() -> list[Mutant]:
    """All named mutants; one whose patch does not apply exactly once says so in ``stale``."""
    return [mutant for path in files() for mutant in load(path)]


def files() -> list[Path]:
    """The files of named mutants, in the order of the parts' names."""
    return sorted((*NAMED.glob("*.toml"), *(PACKAGE / "kernels").glob("*/mutants.toml")), key=_part)


def _part(path: Path) -> str:
    return path.parent.name if path.stem == "mutants" else path.stem


def load(path: Path, package: Path = PACKAGE) -> Iterator[Mutant]:
    """The mutants of one file. Raises KeyError or tomllib.TOMLDecodeError where it is malformed.

    Each has id, description and what makes a ``Patch``: file, function, old and new; ``bug``, ``lane``, ``family`` and
    ``expected_detector`` ("gate: subject") are optional.
    """
    for row in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
        patch = Patch(row["file"], row["function"], row["old"], row["new"])
        text = stale = ""
        try:
            text = patch.applied(package)
        except StalePatch as error:
            stale = str(error)
        yield Mutant(
            id=row["id"],
            kind="named",
            part=_part(path),
            description=row["description"],
            file=patch.file,
            ops=affected_ops.ops(patch.file, patch.function.split(".")[0] or None),
            text=text,
            bug=row.get("bug", ""),
            stale=stale,
            lane=row.get("lane", ""),
            expected_detector=tuple(row.get("expected_detector", ": ").split(": ", 1)),
            family=row.get("family") or _family(patch, _part(path), row.get("expected_detector", "")),
        )


def _family(patch: Patch, part: str, detector: str) -> str:
    """By the gate that was made for its kind, else by where it lies."""
    if part == "speed":
        return "performance"
    if family := OF_DETECTOR.get(detector.split(":")[0]):
        return family
    if not patch.file.startswith("kernels/"):
        return "engine"
    function = affected_ops.functions(PACKAGE / patch.file).get(patch.function.split(".")[0])
    return "device" if function and affected_ops.is_device(function) else "host"
