"""``braidcheck demo``: a well-known bug in a copy of the kernels, and the gates that catch it."""

from __future__ import annotations

import ast
import difflib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braidcheck import config, environment, scratch
from braidcheck.cli.pytest_runner import variables
from braidcheck.environment import PACKAGE
from braidcheck.errors import NotAvailable
from braidcheck.report.progress import Progress
from braidcheck.result import Run, Status, Verdict
from braidcheck.settings import NANO

if TYPE_CHECKING:
    from braidcheck.mutants.mutant import Mutant

OP, FAULT = "qkv_rope", "qkv_rope: many, norm after RoPE"
KERNEL_GATE = ("gate", "--lane", "interpret", "--gate", "accuracy", "--op", OP, "--workers", "1")
STORY = """\
Qwen3 normalises Q and K before it rotates them (RoPE). Some engines swapped the two: the model still writes
sentences, only worse ones. Here is that bug, in a temporary copy of the kernels; your files stay as they are:
"""
NEXT = """\
Both gates name the op. Next:
  braidcheck gate                           all gates, all kernels and the embedded model
  braidcheck check OP FILE.py:FUNCTION      your own function
  braidcheck init                           your own repository"""


def demo() -> int:
    """Plant a well-known bug, RoPE before the Q/K norm, in a copy of the kernels and show which gates catch it. Exit
    code 1 if one does not."""
    if reason := environment.why_no_interpreter():
        raise NotAvailable(f"the demo runs kernels on the CPU: {reason}")
    from braidcheck.golden.resolve import find_checkpoint
    from braidcheck.mutants import named_faults
    from braidcheck.mutants.mutant import overlay, snapshot

    find_checkpoint(NANO)  # before half a minute of gates
    (fault,) = [one for one in named_faults.load(PACKAGE / "kernels" / OP / "mutants.toml") if one.id == FAULT]
    print(STORY)
    print(_diff(fault))
    with scratch.Folder("demo") as folder:
        tree = overlay(snapshot(folder / "source"), fault, folder / "tree")
        (tree / config.FILE).touch()  # no pyproject.toml of a parent folder applies
        with Progress("running two gates, about half a minute on two cores"), ThreadPoolExecutor(2) as pool:
            run, answer = pool.submit(_ask_kernel, tree), pool.submit(_ask_model, tree)
            pending: list[Future[Any]] = [run, answer]
            wait(pending)  # here, so that an interrupt waits for what still writes to the folder
        caught = [_say_kernel(run.result()), _say_model(answer.result())]
    print(NEXT if all(caught) else "A gate did not catch it: please report this.")
    return 0 if all(caught) else 1


def _diff(fault: Mutant) -> str:
    """The changed lines with one line of context, without comments."""
    texts = ((PACKAGE / fault.file).read_text(encoding="utf-8"), fault.text)
    before, after = (ast.unparse(ast.parse(text)).splitlines() for text in texts)
    lines = list(difflib.unified_diff(before, after, lineterm="", n=1))[3:]
    return "\n".join((f"  {PACKAGE.name}/{fault.file}", *(f"  {line}" for line in lines), ""))


def _ask_kernel(tree: Path) -> Run:
    """The Run of the accuracy gate on the op in ``tree``. Raises NotAvailable if there is none."""
    completed = _python(tree, ["-m", "braidcheck", *KERNEL_GATE, "--out", str(tree / "out")])
    try:
        return Run.from_json((tree / "out" / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise NotAvailable(f"the accuracy gate wrote no run.json: {_last(completed.stderr)}") from None


def _ask_model(tree: Path) -> Mapping[str, Any]:
    """The result of ``demo_model`` for the engine in ``tree``. Raises NotAvailable if there is none."""
    completed = _python(tree, ["-m", "braidcheck.cli.demo_model"], TRITON_INTERPRET="1", OMP_NUM_THREADS="1")
    try:
        return json.loads(completed.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise NotAvailable(f"the coherence gate wrote no result: {_last(completed.stderr)}") from None


def _python(tree: Path, words: Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the package in ``tree``, without the user's configuration."""
    env = {name: value for name, value in variables(tree).items() if not name.startswith("BRAIDCHECK_")} | more
    return subprocess.run([sys.executable, *words], cwd=tree, env=env, capture_output=True, text=True, check=False)


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1]


def _say_kernel(run: Run) -> bool:
    """Print what the accuracy gate found; whether it caught the fault."""
    failed = [verdict for verdict in run.verdicts if verdict.status == Status.FAIL and OP in verdict.subject]
    evaluated = [verdict for verdict in run.verdicts if verdict.status != Status.SKIPPED]
    if not failed:
        print(f"accuracy: not caught; {len(evaluated)} cases of {OP} pass")
        return False
    worst = max(failed, key=_ratio)
    print(f"accuracy: caught. {len(failed)} of {len(evaluated)} cases of {OP} fail. The worst:")
    print(f"  {worst.subject}\n  {worst.message}\n")
    return True


def _ratio(verdict: Verdict) -> float:
    return verdict.value or 0.0


def _say_model(answer: Mapping[str, Any]) -> bool:
    """Print what the coherence gate found; whether it caught the fault and named the op."""
    if not answer["failed"]:
        print("coherence: not caught; the model matches its golden")
        return False
    print("coherence: caught. The embedded model no longer matches Hugging Face:")
    print("".join(f"  {line}\n" for line in answer["failed"]), end="")
    print(f"  suspect ops: {answer['blame']}\n")
    return OP in answer["ops"]
