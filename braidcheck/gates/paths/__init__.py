"""The paths gate: finds branches of kernels and launch configs that no case runs, which therefore no gate tests."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from braidcheck.gates.gate import ALL_OPS, NO_KERNEL, Gate, Progress, chosen_ops
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings

COMMON = "common"  # the subject for code that ops share
EXCUSED = Path(__file__).parent / "excused.toml"


class Evidence(TypedDict):
    """An op, or the shared code: the names of its ``paths``, and which of them ``ran`` and are ``missing``."""

    part: str
    paths: list[str]
    ran: list[str]
    missing: list[str]


def evaluate(evidence: Evidence, excused: Mapping[str, str], lane: str = "") -> Verdict:
    """Fail if a path is missing that is not ``excused`` (reason by name), or if an excused path ran."""
    part, paths = evidence["part"], evidence["paths"]
    missing = [path for path in evidence["missing"] if path not in excused]
    needless = [path for path in evidence["ran"] if path in excused]
    excuses = [path for path in evidence["missing"] if path in excused]
    status, message = Status.PASS, f"{part}: cases run {len(paths) - len(excuses)} of {len(paths)} paths"
    if excuses:
        message += f", {len(excuses)} excused"
    if missing:
        status, message = Status.FAIL, f"no case runs {missing[0]}{_more(missing)}; add one, or excuse the path by name"
    elif needless:
        status, message = (
            Status.FAIL,
            f"{needless[0]} is excused and runs{_more(needless)}; remove it from {EXCUSED.name}",
        )
    elif not paths:
        status, message = Status.ERROR, f"{part} has no path at all"
    return Verdict(
        gate="paths",
        subject=part,
        status=status,
        message=message,
        value=len(missing) + len(needless),
        limit=0,
        unit="paths",
        lane=lane,
        metrics={"missing": missing, "excused": {path: excused[path] for path in excuses}},
    )


def _more(paths: Sequence[str]) -> str:
    return f" and {len(paths) - 1} more" if len(paths) > 1 else ""


def excuses(file: Path = EXCUSED) -> dict[str, str]:
    """The paths that no case needs to run in the interpreter: reason by name."""
    return {path: reason for reason, paths in tomllib.loads(file.read_text("utf-8")).items() for path in paths}


def subjects(settings: Settings) -> list[str]:
    """The ops, and the shared code if all ops are selected."""
    return [*chosen_ops(settings), *([] if settings.ops else [COMMON])]


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> Iterator[Verdict]:
    """Run the ops' cases until all of their paths have run."""
    from braidcheck import kernels
    from braidcheck.gates.paths.measure import measure_paths

    own = {*kernels.names(), COMMON}
    for evidence in measure_paths(chosen_ops(settings), excuses()):
        part = evidence["part"]
        if part in subjects and not evidence["paths"] and part not in own:
            yield Verdict("paths", part, Status.SKIPPED, NO_KERNEL.format(part), lane=settings.lane)
        elif part in subjects:
            yield evaluate(evidence, excuses(), settings.lane)


GATE = Gate(
    name="paths",
    question="Does some case run every branch of every kernel, and every launch config, that the interpreter can run?",
    failure_page="coverage",
    subjects=subjects,
    run=run,
    shared=True,  # shared code is run by the cases of any op; and a base's cases cannot run a new branch
    needs_interpreter="a GPU runs compiled kernels, which cannot say which branch they took",
    stand_in=ALL_OPS,
)
