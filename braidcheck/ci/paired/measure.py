"""Measures base and change: makes both trees, runs both workers, and returns the evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from braidcheck import external_ops, kernels, scratch
from braidcheck.benchmarks.requests import REQUESTS
from braidcheck.benchmarks.shapes import series
from braidcheck.ci.paired import worktrees
from braidcheck.ci.paired.process import Command, Process, gpu_worker
from braidcheck.ci.paired.session import Session
from braidcheck.ci.paired.worker import ENGINE, Message
from braidcheck.environment import PACKAGE
from braidcheck.gates.paired import Evidence, SeriesTimings
from braidcheck.op import Op

UNCHANGED: SeriesTimings = {
    "restarts": [],
    "trouble": {"side": "base", "said": "the kernels are the base's, byte for byte: there is nothing to compare"},
}


def all_series() -> list[Message]:
    """All series: each op on each of its production shapes, then the engine on each of ``requests.REQUESTS``."""
    ops: list[Message] = [{"name": one.name, "op": one.op, "axes": dict(one.case.axes)} for one in series(_own_ops())]
    return ops + [{"name": f"{ENGINE}[{request}]", "op": ENGINE, "request": request} for request in REQUESTS]


def _own_ops() -> dict[str, Op]:
    """The ops of this package: the base has no other version of external ops."""
    return {name: op for name, op in kernels.find().items() if not external_ops.module_of(name)}


def measure_paired(
    commit: str, series: Sequence[Message], seconds: float, progress: Callable[[str], None] = lambda text: None
) -> Evidence:
    """Time ``series`` against ``commit`` (empty: the merge-base with the default branch) for at most so long.

    The evidence has ``series`` (see ``Session.measure``) and ``against``, the commit; or the ``reason`` why not.
    """
    base = commit or worktrees.default_base()
    if not base:
        return {"reason": "there is no merge-base with a default branch: give a commit by --against"}
    with scratch.Folder("paired") as folder:
        progress(f"checking out {base[:12]}")
        with worktrees.checked_out(base, folder) as worktree:
            evidence = compare(worktree, worktrees.REPOSITORY, folder, series, seconds, progress)
            return evidence | {"against": base}


def compare(
    base: Path,
    change: Path,
    folder: Path,
    series: Sequence[Message],
    seconds: float,
    progress: Callable[[str], None] = lambda text: None,
    command: Command = gpu_worker,
) -> Evidence:
    """Time two source trees, which are copied to ``folder``."""
    if not (base / PACKAGE.name / "kernels").is_dir():
        return {"reason": "the base has no kernels: it is older than they are"}
    if worktrees.same_engine(base, change):
        return {"reason": "kernels and engine are the base's, byte for byte: there is nothing to compare"}
    same_kernels = worktrees.same_kernels(base, change)
    changed = [one for one in series if one["op"] == ENGINE or not same_kernels]
    before, after = (
        Process(side, worktrees.prepare_worktree(tree, folder / side), command)
        for side, tree in (("base", base), ("change", change))
    )
    with Session(before, after, progress=progress) as session:
        timings = session.measure(changed, seconds)
    return {"series": {one["name"]: timings.get(one["name"], UNCHANGED) for one in series}}
