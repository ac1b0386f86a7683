"""``braidcheck mutants``: plants deliberate faults in the package and reports which gate catches each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from braidcheck import checksum, environment, format_1
from braidcheck.cli.gate import Lane, choose_lane
from braidcheck.cli.overview import check_ops
from braidcheck.errors import NotAvailable, UserError
from braidcheck.gates import mutants as gate
from braidcheck.mutants.evidence import Matrix
from braidcheck.report import mutants as report
from braidcheck.report.progress import Progress
from braidcheck.result import ENVIRONMENT, NUMBER, TEXT, Run, json_by_line, require, write_atomically

SCHEMA = "kill matrix 1"
Types = dict[str, tuple[type, ...]]
MATRIX: Types = {
    **dict.fromkeys(("format", "missing", "left_out"), (int,)),
    "lane": TEXT, "blame": (bool,), "environment": (dict,), "seconds": NUMBER, "mutants": (list,),
}  # fmt: skip
ROW: Types = {
    **dict.fromkeys(("id", "kind", "part", "description", "outcome", "gate", "subject", "said"), TEXT),
    "seconds": NUMBER, "gates": (dict,),
}  # fmt: skip
OPTIONAL: Types = {
    **dict.fromkeys(("bug", "equivalent", "family", "witness", "place"), TEXT),
    **dict.fromkeys(("ops", "diff"), (list,)),
    "blame": (dict,),
}

MAX_WORKERS_PER_GPU = 10  # processes: each takes about 3 GiB for most cases


def mutants(
    op: Annotated[list[str] | None, typer.Option(help="only mutants that affect this op; may be repeated")] = None,
    lane: Annotated[Lane, typer.Option(help="where to run the kernels")] = Lane.auto,
    named: Annotated[bool, typer.Option("--named", help="only the named mutants")] = False,
    generated: Annotated[bool, typer.Option("--generated", help="only the generated mutants")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
    save: Annotated[Path | None, typer.Option(help="write the kill matrix to this file")] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option("--with", help="kill matrix of another lane; generated mutants killed there are left out"),
    ] = None,
    blame: Annotated[
        bool, typer.Option("--blame", help="run only the coherence gate and report the ops it suspects")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "--jobs", min=1, help="processes; default: one per core, at most 10 per GPU"),
    ] = None,
    changed: Annotated[str, typer.Option(metavar="REF", help="only mutants that affect ops changed since REF")] = "",
    source: Annotated[
        list[Path] | None, typer.Option(help="plant faults in this file of another project; may be repeated")
    ] = None,
    test: Annotated[str, typer.Option(metavar="COMMAND", help="with --source: that project's tests")] = "",
    seed: Annotated[int | None, typer.Option(min=0, help="with --source: seed of the draw; default: 0")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="with --source: mutants to draw; default: all")] = None,
) -> int:
    """Insert faults into the kernels and the model, one at a time, and show which gate catches each.

    With --source and --test: insert faults into another project's kernels and run that project's tests."""
    if source or test or seed is not None or limit:
        if op or named or generated or beside or blame or changed:
            raise UserError("--source combines only with --test, --seed, --limit, --jobs, --lane, --save and --json")
        from braidcheck.cli.project_mutants import project_mutants

        return project_mutants(source or [], test, lane, workers, seed or 0, limit, save, as_json)
    chosen = choose_lane(lane)
    if reason := environment.why_no_triton():
        raise NotAvailable(reason)
    check_ops(op or [])
    if changed:
        from braidcheck.mutants import changed as changes

        op = [*(op or ()), *changes.ops(changed)]
        if not op:
            print(f"skipped: no op and no file that ops share has changed since {changed}")
            return 0
    kinds = [kind for kind, is_chosen in (("named", named), ("generated", generated)) if is_chosen]
    others = [read_matrix(path) for path in beside or ()]
    return _run(chosen, op or [], kinds, others, blame, workers, save, as_json)


def _run(
    lane: str,
    ops: list[str],
    kinds: list[str],
    others: list[Matrix],
    blame: bool,
    workers: int | None,
    save: Path | None,
    as_json: bool,
) -> int:
    """Run the package's mutants that ``others`` did not kill; print and save the kill matrix."""
    from braidcheck.mutants import selection
    from braidcheck.mutants.runner import Runner

    faults = selection.choose(kinds or selection.KINDS, ops)
    left = [fault for fault in faults if fault.kind == "named" or fault.id not in gate.settled(others)]
    left_out = len(faults) - len(left)

    def keep(matrix: Matrix) -> None:
        if save is not None:
            write_atomically(save, dump({**matrix, "left_out": left_out}))

    count = environment.cpus()
    if lane == "gpu":
        count = min(count, MAX_WORKERS_PER_GPU * len(environment.gpus()))
    with Progress(f"mutants on the {lane} lane") as progress:
        matrix: Matrix = {**Runner(lane, progress, blame, keep).run(left, workers or count), "left_out": left_out}
    keep(matrix)
    verdicts = gate.evaluate([matrix, *others])
    run = Run({}, (), verdicts)
    if as_json:
        print(json.dumps({**matrix, "verdicts": json.loads(run.to_json())["verdicts"]}, indent=1))
    else:
        report.show(matrix, verdicts)
    return run.exit_code


def dump(matrix: Matrix) -> str:
    """The matrix as JSON with one line per mutant, without empty entries."""
    body = {key: value for key, value in matrix.items() if key != "mutants"}
    rows = [{key: value for key, value in row.items() if value} for row in matrix["mutants"]]
    return json_by_line(body, "mutants", rows, SCHEMA)


def read_matrix(path: Path) -> Matrix:
    """The kill matrix in ``path``. Raises UserError if there is none."""
    try:
        return load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a kill matrix: {error}") from None


def load(text: str) -> Matrix:
    """The matrix that ``dump`` wrote. Raises ValueError for another file."""
    matrix = checksum.opened(text, SCHEMA)
    if not {"lane", "mutants", "seconds"} <= matrix.keys():
        raise ValueError("it has no lane, mutants and seconds")
    require(matrix, MATRIX, "the matrix", optional=True)
    require(matrix.get("environment", {}), ENVIRONMENT, "environment", optional=True)
    return cast(Matrix, {**matrix, "mutants": [_row(row) for row in matrix["mutants"]]})


def _row(row: object) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise ValueError("a mutant is not an object")
    empty = {"description": "", "gate": "", "subject": "", "said": "", "seconds": 0.0, "gates": {}}
    whole: dict[str, Any] = empty | format_1.mutant(row)
    require(whole, ROW, "a mutant")
    require(whole, OPTIONAL, "a mutant", optional=True)
    if not all(type(seconds) in NUMBER for seconds in whole["gates"].values()):
        raise ValueError("gates of a mutant must be seconds by gate")
    return whole
