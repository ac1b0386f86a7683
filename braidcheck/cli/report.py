"""``braidcheck report``: renders a Run, a history or a CSV as one readable file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from braidcheck import checksum
from braidcheck.ci import history
from braidcheck.cli.mutants import read_matrix
from braidcheck.cli.project_mutants import load
from braidcheck.cli.sensitivity import SCHEMA
from braidcheck.errors import UserError
from braidcheck.mutants.evidence import Matrix, SizeRow
from braidcheck.report import markdown, project_mutants, run_json
from braidcheck.report.formats import FORMATS
from braidcheck.report.progress import Progress
from braidcheck.report.sensitivity import tables
from braidcheck.result import Run, write_atomically

BY_ENDING = {Path(file).suffix: render for file, render in FORMATS.items() if file != run_json.FILE}
ENDINGS = (".html", *BY_ENDING)
WRITTEN = Path("braidcheck-out")  # where a gate writes by default


def report(
    path: Annotated[
        Path,
        typer.Argument(
            help="a run.json or the folder that it is in, a history's folder, a CSV with time,series,value, or saved "
            "mutants --source"
        ),
    ] = WRITTEN,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help=f"a file that ends in {', '.join(ENDINGS)}; default: report.html there"),
    ] = None,
    base: Annotated[Path | None, typer.Option(help="the run.json to compare with")] = None,
    mutants: Annotated[list[Path] | None, typer.Option(help="a kill matrix; may be repeated")] = None,
    sensitivity: Annotated[Path | None, typer.Option(help="what braidcheck sensitivity saved; in HTML only")] = None,
) -> int:
    """Write a report: HTML to look at, Markdown for a pull request, JUnit (.xml) for a CI, SARIF for code scanning, a
    badge (.svg) for a README."""
    out = out or (path if path.is_dir() else path.parent) / "report.html"
    if out.suffix not in ENDINGS:
        raise UserError(f"-o {out}: unknown format; give a name that ends in {', '.join(ENDINGS)}")
    if project := _project_mutants(path):
        if out.suffix != ".html":
            raise UserError(f"{path} holds mutants of a project: write an .html")
        return _write(out, project_mutants.render(project))
    runs, last = _read(path)
    before = _load(base) if base else None
    matrices = [read_matrix(file) for file in mutants or ()]
    if out.suffix == ".html":
        sizes = _sizes(sensitivity) if sensitivity else []
        text = _page(path, runs, last, before, matrices, sizes)
    elif last is None:
        raise UserError(f"{path} has measurements but no verdicts: write an .html")
    else:
        text = markdown.render(last, before, matrices) if out.suffix == ".md" else BY_ENDING[out.suffix](last)
    return _write(out, text)


def _write(out: Path, text: str) -> int:
    try:
        write_atomically(out, text)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; give another -o") from None
    print(f"{out} ({len(text.encode()) / 1e6:.2f} MB)")
    return 0


def _project_mutants(path: Path) -> Mapping[str, Any]:
    """What ``braidcheck mutants --source --save`` wrote; empty if ``path`` is another file."""
    try:
        return load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _read(path: Path) -> tuple[list[Run], Run | None]:
    """The Runs of a history or a CSV, oldest first, and the Run to report; a single file has no history."""
    if path == WRITTEN and not (path / run_json.FILE).exists():
        raise UserError(f"there is no {path / run_json.FILE}; run braidcheck gate first, or give another path")
    if path.is_dir() and not (path / run_json.FILE).exists():
        runs = history.runs(path)
        if not runs:
            raise UserError(f"no Runs in {path}")
        return runs, None if "imported" in runs[-1].environment else runs[-1]
    if path.suffix.lower() == ".csv":
        from braidcheck.ci.trend import table

        runs = table.read(path)
        if not runs:
            raise UserError(f"{path} has no rows")
        return runs, None
    return [], _load(path)


def _load(path: Path) -> Run:
    path = path / run_json.FILE if path.is_dir() else path
    try:
        return Run.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a Run: {str(error).splitlines()[0]}") from None


def _sizes(path: Path) -> list[SizeRow]:
    try:
        rows = checksum.opened(path.read_text(encoding="utf-8"), SCHEMA)["faults"]
        list(tables(rows))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{path} is not what braidcheck sensitivity --save wrote: {error}") from None
    return rows


def _page(
    path: Path,
    runs: list[Run],
    last: Run | None,
    base: Run | None,
    matrices: list[Matrix],
    sizes: list[SizeRow],
) -> str:
    from braidcheck.ci.trend import evaluate
    from braidcheck.report import page

    with Progress("report") as progress:
        trend = evaluate.evaluate(runs, progress)
        progress("drawing")
        commit = last.environment.get("commit") if last and not runs else ""
        title = f"commit {commit[:12]}" if commit else path.resolve().name
        return page.render(page.Subject(title, last, runs, trend, base, matrices, sizes))
