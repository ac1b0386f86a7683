"""``braidcheck list`` and ``braidcheck doctor``: the ops, and what can run on this machine."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from braidcheck import environment, external_ops
from braidcheck.ci.paired import worktrees
from braidcheck.cli import bounds
from braidcheck.config import nearest
from braidcheck.errors import NotAvailable, UserError
from braidcheck.gates import ENGINE_GATES, GATES
from braidcheck.op import Op
from braidcheck.report.terminal import console

# The purpose of each extra of the package.
EXTRAS = {
    "nano": "the embedded model, for the gates coherence and engine",
    "golden": "models and data sets other than the embedded ones",
    "gpu": "GPU clocks and timings against a commit",
    "report": "the HTML report and the trend",
}


def list_ops(
    op: Annotated[list[str] | None, typer.Argument(help="show these ops: signature, contract and cases")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
    with_bounds: Annotated[bool, typer.Option("--bounds", help="list the published error ratios instead")] = False,
) -> int:
    """List the ops, or show some: signature, shapes, contract and cases. With --bounds, the published error ratios."""
    if with_bounds:
        published = bounds.read()
        print(json.dumps({"lanes": published}, indent=1)) if as_json else bounds.show(published)
        return 0
    check_ops(op or [])
    ops = {name: found for name, found in find_ops().items() if not op or name in op}
    if as_json:
        print(json.dumps({"ops": [_plain(found) for found in ops.values()]}, indent=1))
    elif op:
        print("\n\n".join(map(_described_op, ops.values())))
    else:
        _show_ops(ops.values())
    return 0


def signature(op: Op) -> str:
    """The op's signature, one argument per line."""
    parameters = inspect.signature(op.call)
    lines = "".join(f"    {argument},\n" for argument in parameters.parameters.values())
    return f"{op.name}(\n{lines}) -> {parameters.return_annotation}".replace("'", "")


def summary(op: Op) -> str:
    """The first paragraph of the op's docstring, as one line."""
    return " ".join((inspect.getdoc(op.call) or "").split("\n\n")[0].split())


def _show_ops(ops: Iterable[Op]) -> None:
    table = Table("op", "what it computes", "cases", "GPU only", box=box.SIMPLE_HEAD, pad_edge=False)
    for op in ops:
        large = sum(case.large for case in op.cases)
        table.add_row(op.name, Text(summary(op).replace("``", "")), str(len(op.cases)), str(large))
    console().print(table)
    print("for an op's signature and cases: braidcheck list OP")


def _described_op(op: Op) -> str:
    """All that the author of a function for ``braidcheck check`` needs to know."""
    outputs = ", ".join(f"{name} in {kind}" for name, kind in op.contract.outputs.items())
    cases = "".join(f"\n  {case.id}{' (on a GPU only)' if case.large else ''}" for case in op.cases)
    return (
        f"{signature(op)}\n\n{(inspect.getdoc(op.call) or '').replace('``', '')}\n\n"
        f"outputs, by the dtype of an argument: {outputs}\n"
        f"permitted casts: {'; '.join(op.contract.casts) or 'none'}; accumulator: {op.contract.accumulator}\n"
        f"{len(op.cases)} cases:{cases}"
    )


def check_ops(names: Iterable[str]) -> None:
    """Raise UserError for an unknown op; needs torch and Triton only for external ops."""
    names = list(names)
    known = sorted(worktrees.ops(worktrees.REPOSITORY))
    if external_ops.declared() and not set(names) <= set(known):
        known = sorted(find_ops())
    for name in names:
        if name not in known:
            raise UserError(f"no op {name!r}{nearest(name, known) or '; one of ' + ', '.join(known)}")


def check_gates(names: Iterable[str]) -> None:
    """Raise UserError for an unknown gate."""
    for name in names:
        if name not in GATES:
            raise UserError(f"no gate {name!r}{nearest(name, GATES) or '; one of ' + ', '.join(GATES)}")


def project_ops() -> list[str]:
    """The ops that the project's table names, which its gate tests. Raises NotAvailable if Triton is missing."""
    if not external_ops.has_project():
        return []
    find_ops()
    return external_ops.of_project()


def find_ops() -> dict[str, Op]:
    """All ops. Raises NotAvailable if Triton is missing."""
    if reason := environment.why_no_triton():
        raise NotAvailable(reason)
    from braidcheck import kernels

    return kernels.find()


def _plain(op: Op) -> Mapping[str, object]:
    cases = [
        {
            "id": case.id,
            "axes": dict(case.axes),
            "dtype": case.dtype,
            "profile": case.profile,
            "large": case.large,
            "needs": list(case.needs),
        }
        for case in op.cases
    ]
    signature = str(inspect.signature(op.call))
    return {"name": op.name, "signature": signature, "contract": asdict(op.contract), "cases": cases}


def doctor() -> int:
    """Show what is installed and which gates can run here. Exit code 3 if none can."""
    seen = environment.fingerprint()
    table = Table("what", "found", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_row("braidcheck", " ".join(filter(None, (seen["braidcheck"], seen["commit"]))))
    table.add_row("python", f"{seen['python']} on {seen['platform']}, {seen['cpus']} CPU cores")
    for name, found in seen["libraries"].items():
        table.add_row(name, found or "not installed")
    table.add_row("nano", _nano() or "not installed")
    for gpu in seen["gpus"]:
        table.add_row("GPU", _described(gpu, seen["driver"]))
    if not seen["gpus"]:
        table.add_row("GPU", "none that torch can use")
    no_interpreter, no_gpu = environment.why_no_interpreter(), environment.why_no_gpu()
    table.add_row("lane interpret", f"no: {no_interpreter}" if no_interpreter else "yes, on the CPU")
    table.add_row("lane gpu", f"no: {no_gpu}" if no_gpu else "yes")
    lanes = {lane for lane, why_not in (("interpret", no_interpreter), ("gpu", no_gpu)) if not why_not}
    here = [gate.name for gate in GATES.values() if lanes & set(gate.lanes)]
    table.add_row("gates that can run", ", ".join(here) or "none")
    if needs_gpu := [gate.name for gate in GATES.values() if lanes and gate.needs_gpu and gate.name not in here]:
        table.add_row("gates that need a GPU", ", ".join(needs_gpu))
    table.add_row("gates that --engine runs", ", ".join(("coherence", *ENGINE_GATES)))
    console().print(table)
    for what, command in _more(bool(seen["gpus"])):
        print(f"for more: {what}: {command}")
    return 0 if here else 3


def _more(has_gpu: bool) -> Iterator[tuple[str, str]]:
    """What is missing here, and the command that installs it."""
    if environment.why_no_triton() and sys.platform == "linux":
        yield "every lane", "pip install triton"
    for extra, libraries in environment.extras().items():
        here = _nano() if extra == "nano" else all(map(environment.version, libraries))
        if not here and (has_gpu or extra != "gpu"):
            yield EXTRAS.get(extra, extra), f"pip install 'braidcheck[{extra}]'"
    if not has_gpu and shutil.which("nvidia-smi"):
        yield "the lane gpu, for this machine's GPU", "pip install --force-reinstall torch, in its CUDA build"
    elif not has_gpu:
        yield "the lane gpu, on a machine that has a GPU", "braidcheck gate; for pull requests: braidcheck init --gpu"


def _nano() -> str:
    from braidcheck.golden.resolve import nano_version

    return nano_version()


def gates_by_name() -> str:
    """Each gate and its question, one paragraph each."""
    of_engines = (f"{name}: {question}" for name, question in ENGINE_GATES.items())
    own = (f"{gate.name}: {gate.question}" for gate in GATES.values())
    return "\n\n".join(("Gates:", *own, "With --engine, beside coherence:", *of_engines))


def _described(gpu: Mapping[str, Any], driver: str) -> str:
    return f"{gpu['name']}, capability {gpu['capability']}, {gpu['memory_gib']} GiB, driver {driver or 'unknown'}"
