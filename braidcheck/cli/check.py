"""``braidcheck check``: runs the gates' checks of an op on a user's function."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer

from braidcheck import environment, external_ops
from braidcheck.cli.candidate_run import DECLARED, HELD, PASSES, Limits, evaluate
from braidcheck.cli.checked_functions import Function, chosen
from braidcheck.cli.overview import check_ops
from braidcheck.cli.served_cases import is_of_all
from braidcheck.errors import NotAvailable, UserError
from braidcheck.report import terminal
from braidcheck.result import Run, Status, Verdict

TIMEOUT_S, TOTAL_TIMEOUT_S = 300, 3600


class Device(StrEnum):
    """Where the function runs."""

    cpu = "cpu"
    cuda = "cuda"


def check(
    op: Annotated[str, typer.Argument(help="an op (braidcheck list); with --all a module or file of functions")] = "",
    function: Annotated[
        str, typer.Argument(help="FILE.py:FUNCTION, package.module:function or GIT-REF:FILE.py:FUNCTION")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
    device: Annotated[Device | None, typer.Option(help="default: the GPU if there is one")] = None,
    case: Annotated[str, typer.Option(help="run only checks whose name contains this")] = "",
    seed: Annotated[
        int | None, typer.Option(min=0, help="seed of the random sizes and inputs; default: a new one")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="time limit of one check, in seconds")] = TIMEOUT_S,
    must_launch: Annotated[
        bool, typer.Option("--must-launch", help="fail results of anything but Triton kernels")
    ] = False,
    total_timeout: Annotated[float, typer.Option(min=1, help="time limit of all checks, in seconds")] = TOTAL_TIMEOUT_S,
    contract: Annotated[
        str,
        typer.Option(help="conventions to check: output=input,rounding=before-weight; default: detected"),
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="check all of --functions")] = False,
    functions: Annotated[
        list[str] | None, typer.Option(help="OP=FUNCTION or OP(CONVENTIONS)=FUNCTION; may be repeated")
    ] = None,
) -> int:
    """Run the gates' checks of an op on your own function: accuracy on the op's cases and on random sizes,
    out-of-bounds accesses, layouts, repeated calls. Exit code: 0 if all evaluated checks pass, 1 if any fails, 3 if
    nothing relevant was evaluated, such as no 16-bit case. --all checks the functions that pyproject.toml lists; with
    --json it prints one line for each."""
    if every == bool(function):
        raise UserError("check takes an op and a function, or --all. See: braidcheck check --help")
    functions_to_check = (
        chosen(functions or (), op) if every else [Function(op, function, tuple(filter(None, contract.split(","))))]
    )
    check_ops([one.op for one in functions_to_check])
    place = _place(device)
    if reason := environment.why_no_triton():
        raise NotAvailable(reason)
    seed = secrets.randbelow(2**31) if seed is None else seed
    limits = Limits(timeout, total_timeout)
    codes = []
    for one in functions_to_check:
        run = _check(one, place, seed, case, limits, must_launch)
        if every and not as_json:
            print(f"{one.op}: {one.name}")
        _say(run, one.op, one.name, seed, as_json, every)
        codes.append(run.exit_code)
    return 1 if 1 in codes else max(codes)


def _check(one: Function, place: str, seed: int, case: str, limits: Limits, must_launch: bool) -> Run:
    """The verdicts on one function, each with the command that repeats it."""
    verdicts = evaluate(one.op, one.name, place, seed, case, limits, must_launch, one.conventions)
    options = "".join(f" {word}" for word in external_ops.options()) + " --must-launch" * must_launch
    options += f" --contract '{','.join(one.conventions)}'" if one.conventions else ""
    command = f"braidcheck check {one.op} {one.name}{options} --device {place} --seed {seed}"
    lane = "gpu" if place == "cuda" else "interpret"
    return Run({}, (), tuple(_with_command(verdict, lane, command) for verdict in verdicts))


def _place(device: Device | None) -> str:
    if device is None:
        device = Device.cpu if environment.why_no_gpu() else Device.cuda
    if device is Device.cuda and (reason := environment.why_no_gpu()):
        raise NotAvailable(f"--device cuda cannot be used here: {reason}; use --device cpu")
    return str(device)


def _with_command(verdict: Verdict, lane: str, command: str) -> Verdict:
    again = command if is_of_all(verdict) else f"{command} --case '{verdict.subject}'"
    return replace(verdict, lane=lane, reproduce="" if verdict.status == Status.SKIPPED else again)


def _say(run: Run, op: str, function: str, seed: int, as_json: bool, every: bool) -> None:
    if as_json:
        body = json.loads(run.to_json())
        kept = {key: body[key] for key in ("format", "status", "exit_code", "verdicts")}
        print(json.dumps({"op": op, "function": function, "seed": seed, **kept}, indent=None if every else 1))
    else:
        terminal.show(run)
        for verdict in run.verdicts:
            for prefix in (HELD, DECLARED):
                if verdict.message.startswith(prefix):
                    print(verdict.message.replace(prefix, prefix if run.exit_code else PASSES, 1))
            if is_of_all(verdict):
                print(verdict.message)
        print(f"sizes and numbers were drawn with --seed {seed}")
