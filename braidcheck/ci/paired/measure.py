"""Base and change from a commit to evidence: both trees made, both workers run, what was seen given back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from braidcheck.benchmarks.shapes import Series
from braidcheck.ci.paired import worktrees
from braidcheck.ci.paired.process import Command, Process, gpu_worker
from braidcheck.ci.paired.session import Session
from braidcheck.environment import PACKAGE
from braidcheck.gates.paired import Evidence


def measure_paired(
    commit: str, wanted: Sequence[Series], seconds: float, progress: Callable[[str], None] = lambda text: None
) -> Evidence:
    """Time ``wanted`` against ``commit`` (empty: the merge-base with the default branch) for at most so long.

    The evidence has ``series`` (see ``Session.measure``) and ``against``, the commit; or the ``reason`` why not.
    """
    base = commit or worktrees.default_base()
    if not base:
        return {"reason": "there is no merge-base with a default branch: give a commit by --against"}
    with tempfile.TemporaryDirectory(prefix="braidcheck-paired-") as name:
        folder = Path(name)
        progress(f"checking out {base[:12]}")
        with worktrees.checked_out(base, folder) as worktree:
            evidence = compare(worktree, worktrees.REPOSITORY, folder, wanted, seconds, progress)
            return evidence | {"against": base}


def compare(
    base: Path,
    change: Path,
    folder: Path,
    wanted: Sequence[Series],
    seconds: float,
    progress: Callable[[str], None] = lambda text: None,
    command: Command = gpu_worker,
) -> Evidence:
    """The same of two source trees, which are copied to ``folder``."""
    if not (base / PACKAGE.name / "kernels").is_dir():
        return {"reason": "the base has no kernels: it is older than they are"}
    if worktrees.same_kernels(base, change):
        return {"reason": "the kernels are the base's, byte for byte: there is nothing to compare"}
    before, after = (
        Process(side, worktrees.prepare_worktree(tree, folder / side), command)
        for side, tree in (("base", base), ("change", change))
    )
    series: list[Mapping[str, Any]] = [{"name": one.name, "op": one.op, "axes": dict(one.case.axes)} for one in wanted]
    with Session(before, after, progress=progress) as session:
        return {"series": session.measure(series, seconds)}
