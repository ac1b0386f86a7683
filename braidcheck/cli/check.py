"""``braidcheck check``: holds somebody else's function to an op's cases and bounds."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from braidcheck import environment
from braidcheck.cli.overview import check_ops, find_ops
from braidcheck.errors import NotAvailable, UserError
from braidcheck.gpu_memory import is_out_of_memory
from braidcheck.op import Case, Op
from braidcheck.report import terminal
from braidcheck.report.progress import Progress
from braidcheck.result import Run, Status, Verdict


class Device(StrEnum):
    """Where the function runs."""

    cpu = "cpu"
    cuda = "cuda"


def check(
    op: Annotated[str, typer.Argument(help="an op of: braidcheck list")],
    function: Annotated[str, typer.Argument(help="FILE.py:FUNCTION or package.module:function")],
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
    device: Annotated[Device | None, typer.Option(help="default: the GPU if there is one")] = None,
    case: Annotated[str, typer.Option(help="run only cases whose id contains this")] = "",
) -> int:
    """Check your own function against an op's cases and bounds. Exit code: 0 if all evaluated cases pass, 1 if any
    fails."""
    check_ops([op])
    place = _place(device)
    spec = find_ops()[op]
    cases = [one for one in spec.cases if case in one.id]
    if not cases:
        raise UserError(f"no case of {op} holds {case!r}; see: braidcheck list --json")
    with contextlib.redirect_stdout(sys.stderr):  # what the function prints is not our answer
        candidate = load(function)
        run = Run({}, (), tuple(_evaluate(spec, cases, place, candidate, f"braidcheck check {op} {function}")))
    _say(run, op, function, as_json)
    return run.exit_code


def _place(device: Device | None) -> str:
    if device is None:
        device = Device.cpu if environment.why_no_gpu() else Device.cuda
    if device is Device.cuda and (reason := environment.why_no_gpu()):
        raise NotAvailable(f"--device cuda cannot be used here: {reason}; use --device cpu")
    if device is Device.cpu:
        # Read when Triton is imported, which has not happened yet; plain PyTorch does not notice it.
        os.environ["TRITON_INTERPRET"] = "1"
    return str(device)


def load(name: str) -> Callable[..., Any]:
    """The function called ``FILE.py:FUNCTION`` or ``package.module:function``. Raises UserError where there is none."""
    where, colon, wanted = name.rpartition(":")
    if not colon or not where or not wanted:
        raise UserError(f"{name!r} names no function: give FILE.py:FUNCTION or package.module:function")
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else _from_name(where)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a module that ends the process must not read as success
        raise UserError(f"{where} cannot be imported: {type(error).__name__}: {_first_line(error)}") from None
    found = getattr(module, wanted, None)
    if not callable(found):
        raise UserError(f"{where} has no function {wanted!r}")
    return found


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"no file {path}")
    sys.path.insert(0, str(path.parent.resolve()))  # as if it were run: its neighbours can be imported
    spec = importlib.util.spec_from_file_location(f"candidate_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _from_name(name: str) -> Any:
    sys.path.insert(0, os.getcwd())
    return importlib.import_module(name)


def _evaluate(op: Op, cases: list[Case], device: str, function: Callable[..., Any], command: str) -> Iterable[Verdict]:
    from braidcheck.gates import accuracy
    from braidcheck.gates.accuracy.measure import measure_op

    lane = "gpu" if device == "cuda" else "interpret"
    with Progress(f"checking {op.name}") as progress:
        for number, case in enumerate(cases):
            progress(case.id, number, len(cases))
            if case.large and device == "cpu":
                yield Verdict("accuracy", case.id, Status.SKIPPED, "large cases need a GPU", lane=lane)
                continue
            try:
                verdict = accuracy.evaluate(measure_op(op, case, device, function), lane)
            except SystemExit:
                raise UserError(f"the function ended the process in case {case.id}: it must return") from None
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                said = "the GPU has too little free memory for this case; end other programs on it"
                verdict = Verdict("accuracy", case.id, Status.ERROR, said, lane=lane)
            again = f"{command} --device {device} --case '{case.id}'"
            yield replace(verdict, reproduce="" if verdict.status == Status.SKIPPED else again)


def _say(run: Run, op: str, function: str, as_json: bool) -> None:
    if as_json:
        body = json.loads(run.to_json())
        kept = {key: body[key] for key in ("format", "status", "exit_code", "verdicts")}
        print(json.dumps({"op": op, "function": function, **kept}, indent=1))
    else:
        terminal.show(run)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
