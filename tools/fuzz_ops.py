"""Calls every op with drawn sizes, layouts, dtypes and entries: right within its bound, or a ValueError that names the
argument.

    python -m tools.fuzz_ops --count 10000 [--op OP] [--corpus FOLDER] [--seed N]

Nothing is said of any op here: a case is drawn of those that it declares, its axes in small sizes, and up to two of its
arguments are changed, as the edges gate changes one. What failed is kept in the corpus and asked first the next time.
Exit code 1 where an op answers wrongly.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported

import hypothesis
import torch
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from torch import Tensor

from braidcheck import kernels
from braidcheck.gates.edges.arguments import call_changes, small_case, with_changes, with_outputs, wrong_answer
from braidcheck.gates.edges.changes import Change, with_entry
from braidcheck.numerics.calls import copies
from braidcheck.op import Case, Inputs, Op

ROWS, WIDTHS, SLOTS, HEADS = st.integers(0, 6), st.integers(1, 80), st.integers(0, 40), st.integers(1, 3)
AXES = {
    "T": ROWS, "B": ROWS, "H": WIDTHS, "I": WIDTHS, "K": WIDTHS, "V": WIDTHS, "Hkv": HEADS, "P": SLOTS, "S": SLOTS,
    "D": st.sampled_from((1, 2, 4, 8, 16, 24, 32, 40, 64)) | st.integers(1, 64), "start": SLOTS, "spare": ROWS,
}  # fmt: skip
MAX_RATIO = 6  # query heads for each KV head
FAR = (-(2**63), -(2**31), 2**31 - 1, 2**32, 2**32 + 1, 2**63 - 1)
ENTRIES = st.integers(-8, 48) | st.sampled_from(FAR) | st.integers(-(2**63), 2**63 - 1)
NO_INPUTS = (RuntimeError, ValueError, ZeroDivisionError, IndexError)  # of sizes that fit no call
LAST = "last.txt"  # the call that was made last: a crash leaves nothing else


@st.composite
def cases(draw: Any, op: Op) -> Case:
    """One of the op's own in small sizes, or with each of its axes drawn."""
    case = small_case(draw(st.sampled_from([case for case in op.cases if not case.large])))
    case = replace(case, seed=draw(st.integers(0, 2**31 - 1)))
    if draw(st.booleans()):
        return case
    axes = {axis: draw(AXES[axis]) if axis in AXES else size for axis, size in case.axes.items()}
    if "Hq" in axes:
        axes["Hq"] = axes["Hkv"] * draw(st.integers(1, MAX_RATIO))
    if "B" in axes and case["B"] == case.get("T"):
        axes["B"] = axes["T"]
    return replace(case, axes=axes)


def changes(data: Any, op: Op, inputs: Inputs) -> list[tuple[str, str, Change]]:
    """Up to two: name, kind and change, of different arguments."""
    count = data.draw(st.integers(0, 2))
    rows = list(call_changes(op, inputs, thorough=True)) if count else []
    if count == 2:  # the one would fill the memory when it is copied, the other changes two arguments itself
        rows = [row for row in rows if row[1] != "huge" and not row[1].startswith("sharing")]
    result: list[tuple[str, str, Change]] = []
    for _ in range(count):
        free = [row for row in rows if row[0] not in [name for name, _, _ in result]]
        entries = [row for row in _entries(inputs) if row[0] in [name for name, _, _ in free]]
        choices = st.sampled_from(free) | st.sampled_from(entries) if entries else st.sampled_from(free)
        name, kind, change = data.draw(choices)
        result.append((name, *_with_number(data, inputs, name)) if change is None else (name, kind, change))
    return result


def _entries(inputs: Inputs) -> list[tuple[str, str, None]]:
    """Arguments of whole numbers, of which any entry can be any number."""
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor) and value.numel()}
    return [(name, "", None) for name, value in tensors.items() if value.dtype in (torch.int32, torch.int64)]


def _with_number(data: Any, inputs: Inputs, name: str) -> tuple[str, Change]:
    value = inputs[name]
    index, number = data.draw(st.integers(0, len(value) - 1)), data.draw(ENTRIES)
    limits = torch.iinfo(value.dtype)
    # Two rows of the same slot or place would race for it.
    hypothesis.assume(limits.min <= number <= limits.max and not bool((value == number).any()))
    return f"{number} at {index}", lambda given: {name: with_entry(given[name], index, number)}


def fuzz(op: Op, count: int, counts: Counter[str], note: Callable[[str], Any] = len, **how: Any) -> None:
    """Make ``count`` drawn calls of ``op``; counts in ``counts`` what became of them.

    Raises AssertionError for the simplest that is answered wrongly; ``how`` are settings of Hypothesis.
    """

    @functools.wraps(op.call)
    def call(*args: Any, **kwargs: Any) -> Any:
        returned = op.call(*args, **kwargs)
        counts["served"] += 1
        return returned

    checks = list(hypothesis.HealthCheck)

    @hypothesis.settings(max_examples=count, deadline=None, suppress_health_check=checks, print_blob=False, **how)
    @hypothesis.given(st.data())
    def ask(data: Any) -> None:
        case = data.draw(cases(op))
        try:
            inputs = with_outputs(op, op.inputs(case, "cpu"))
            drawn = changes(data, op, inputs)
            made = partial(with_changes, inputs, *(change for _, _, change in drawn))
            made()
        except NO_INPUTS:
            hypothesis.reject()
        words = ", ".join((f"{case.id} seed {case.seed}", *(f"{name} {kind}" for name, kind, _ in drawn)))
        note(f"{op.name}: {words}")
        counts["calls"] += 1
        violation = wrong_answer(op, call, _pattern(op, inputs, [name for name, _, _ in drawn]), made)
        assert not violation, f"{words}: {violation}"

    ask()


def _pattern(op: Op, inputs: Inputs, names: list[str]) -> str:
    """What a refusal names: a changed argument; any, where the sizes themselves are not served."""
    try:
        op.call(**copies(inputs))
    except ValueError:
        return "|".join({*inputs, *names})
    return "|".join(names) or "nothing"  # what was not changed is served


def main(words: list[str]) -> int:
    """Fuzz each op in a process of its own and print a line for it."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz_ops")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--op", action="append", help="only this op; may be repeated")
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz-corpus"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    ops = kernels.find()
    if options.here:
        return _here(ops[options.op[0]], options)
    codes = [_apart(name, options) for name in options.op or ops]
    return int(any(codes))


def _apart(name: str, options: argparse.Namespace) -> int:
    words = [
        *("--op", name),
        *("--count", options.count),
        *("--corpus", options.corpus),
        *("--seed", options.seed),
        "--here",
    ]
    code = subprocess.run([sys.executable, "-m", "tools.fuzz_ops", *map(str, words)], check=False).returncode
    if code < 0:
        print(f"{name}: {signal.Signals(-code).name} in {(options.corpus / name / LAST).read_text(encoding='utf-8')}")
    return code


def _here(op: Op, options: argparse.Namespace) -> int:
    folder, found, began = options.corpus / op.name, Counter[str](), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / LAST
    how = {"database": DirectoryBasedExampleDatabase(folder), "report_multiple_bugs": False}
    wrong = ""
    try:
        hypothesis.seed(options.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # numbers that overflow are asked about too
            fuzz(op, options.count, found, lambda text: last.write_text(text, encoding="utf-8"), **how)
    except AssertionError as error:
        wrong = str(error).splitlines()[0]
    took = time.monotonic() - began
    counts = f"{found['calls']} calls, {found['served']} served, {took:.0f} s"
    print(": ".join(filter(None, (op.name, counts, wrong))), flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
