"""``braidcheck merge``: merges the Runs of all shards into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braidcheck.cli.results import report
from braidcheck.errors import UserError
from braidcheck.report.formats import OUT_HELP
from braidcheck.result import Run
from braidcheck.schedule import shards


def merge(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN...", help="the run.json of every shard")],
    out: Annotated[Path, typer.Option("-o", "--out", help=OUT_HELP)] = Path("braidcheck-out"),
) -> int:
    """Merge the runs of all shards; they must share one commit and one kind of machine."""
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise UserError(f"{twice[0]} was given twice; give the run.json of each shard once")
    run = shards.merge({str(path): _read(path) for path in paths})
    try:
        return report(run, out)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; give another -o") from None


def _read(path: Path) -> Run:
    try:
        return Run.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give the run.json of a shard") from None
    except (ValueError, TypeError, RecursionError):
        raise UserError(f"{path} is not a Run; give the run.json of a shard") from None
