"""``braidcheck protect``: evaluates the change's kernels with the base's oracles and with its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from braidcheck import scratch
from braidcheck.ci.paired.worktrees import REPOSITORY, checked_out, resolve
from braidcheck.ci.protection import exceptions, oracles, waivers
from braidcheck.cli.gate import Lane, choose_lane
from braidcheck.cli.overview import check_ops
from braidcheck.cli.pytest_runner import variables
from braidcheck.cli.results import write
from braidcheck.errors import NotAvailable, UserError
from braidcheck.gates import protection as gate
from braidcheck.processes import attend
from braidcheck.report import protection as report
from braidcheck.report.formats import OUT_HELP
from braidcheck.result import Run, Verdict

KNOWS = "import braidcheck.settings as c; raise SystemExit('kernels' not in c.Settings.__dataclass_fields__)"


@dataclass(frozen=True)
class Request:
    """The common part of both runs: the tree whose kernels are evaluated, lane, ops, workers, and the output folder."""

    change: Path
    lane: str
    ops: tuple[str, ...]
    workers: int | None
    out: Path

    def run(self, tree: Path, name: str) -> Run:
        """The Run of the oracles in ``tree`` on the change's kernels; its files go to a folder called ``name``. Raises
        NotAvailable if there is no Run, and KeyboardInterrupt if the wait was interrupted.
        """
        folder = (self.out / name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "braidcheck", "gate", "--kernels", str(self.change), "--lane", self.lane]
        command += ["--out", str(folder), *(word for op in self.ops for word in ("--op", op))]
        command += ["--workers", str(self.workers)] if self.workers else []
        print(f"evaluating with {name}", file=sys.stderr)
        with (folder / "said.txt").open("wb") as log:
            # Use the tree's own table: the change's may weaken it.
            interrupted, code = attend(command, variables(tree), stdout=log, cwd=tree)
        if interrupted or code == 130:
            raise KeyboardInterrupt
        try:
            return Run.from_json((folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise NotAvailable(f"skipped: {name} wrote no Run (exit code {code}); see {folder / 'said.txt'}") from None


def protect(
    ref: Annotated[str, typer.Argument(help="base ref, whose references and bounds are applied")],
    change: Annotated[Path, typer.Option(help="the checkout that holds the change")] = REPOSITORY,
    lane: Annotated[Lane, typer.Option(help="where to run the kernels")] = Lane.auto,
    op: Annotated[list[str] | None, typer.Option(help="check only this op; may be repeated")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; default: one per core")] = None,
    own: Annotated[Path | None, typer.Option(help="run.json of the change's own gate; run if needed")] = None,
    out: Annotated[Path, typer.Option(help=OUT_HELP)] = Path("braidcheck-out/protection"),
) -> int:
    """Check this change against the base's bounds, cases, goldens and gates; a failure needs maintainer approval."""
    began = time.monotonic()
    change = change.resolve()
    base = resolve(ref, change)
    request = Request(change, choose_lane(lane), tuple(op or ()), workers, out)
    check_ops(request.ops)
    held = [waiver for waiver in waivers.read(change) if not request.ops or _op(waiver["subject"]) in request.ops]
    own_run = _own_run(own, request.lane) if own else None
    verdicts, theirs = _evaluate(request, base, own_run, held)
    seconds = round(time.monotonic() - began, 1)
    about = {**theirs.environment, "oracles": base, "seconds": seconds, "command": f"braidcheck protect {base}"}
    run = Run(about, tuple(verdict.id for verdict in verdicts), verdicts)
    write(run, out, markdown=report.markdown)
    report.show(run, out)
    return run.exit_code


def _evaluate(
    request: Request, base: str, run: Run | None, held: Sequence[gate.Waiver]
) -> tuple[tuple[Verdict, ...], Run]:
    """The verdicts of threshold protection, and the base's Run."""
    with scratch.Folder("protect") as folder:
        with checked_out(base, folder, request.change) as tree:
            knows = subprocess.run([sys.executable, "-c", KNOWS], env=variables(tree), capture_output=True, check=False)
            if knows.returncode:
                raise NotAvailable(f"skipped: the base {base[:12]} has no gate --kernels; give a newer base")
            edited = oracles.edited(tree, request.change)
            excused = {} if request.ops else _excused(tree, request.change)  # which belong to no single op
            configured = exceptions.configured(tree, request.change)
            theirs = request.run(tree, "the base's oracles")
        mine = (run or request.run(request.change, "the change's oracles")) if edited else None
    today = datetime.now(UTC).date().isoformat()
    verdicts = gate.evaluate(theirs, mine, edited, held, today, excused, configured)
    return tuple(replace(verdict, lane=request.lane) for verdict in verdicts), theirs


def _excused(base: Path, change: Path) -> dict[str, str]:
    try:
        return exceptions.added(base, change)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"a list of exceptions in {base} or {change} cannot be read: {error}") from None


def _own_run(path: Path, lane: str) -> Run:
    """The Run in ``path``. Raises UserError if there is none, or if it is of another lane."""
    try:
        run = Run.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--own {path}: not the run.json of a gate: {error}") from None
    if lane not in {verdict.lane for verdict in run.verdicts}:
        raise UserError(f"--own {path}: not of the {lane} lane; give a run of that lane, or none")
    return run


def _op(subject: str) -> str:
    """The op of a waiver."""
    return subject.split(" ", 1)[-1].split("[")[0]
