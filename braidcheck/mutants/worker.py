"""A worker: imports slow modules once, then forks for each mutant; tasks and results are JSON lines.

Run as ``python -m braidcheck.mutants.worker DEVICE`` with the lane's switch in the environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch

from braidcheck.gates.under_test import interpreter

PRISTINE = interpreter.state()  # before braidcheck patches it: a mutated patch must not find its work already done

from braidcheck.gates import GATES  # noqa: E402
from braidcheck.gates.accuracy.measure import measure_op  # noqa: E402
from braidcheck.gates.gate import Fixtures  # noqa: E402
from braidcheck.mutants import evaluate  # noqa: E402
from braidcheck.mutants.evidence import Result, Task  # noqa: E402
from braidcheck.mutants.sandbox import Say, enter, in_child  # noqa: E402

TOKENS, ANSWERS, STEPS = 1000, 1, 18


class Worker:
    """Holds the shared data of all trials and runs one mutant at a time, in its own child."""

    def __init__(self, device: str) -> None:
        """``device`` is cpu or cuda. On a GPU nothing here may touch it: a broken context would be inherited."""
        self.device = device
        self.order: dict[str, float] = {}
        self.timed: set[str] = set()
        self.fixtures = Fixtures()

    def evaluate(self, task: Task) -> Result:
        """The result of one task: outcome, gate, subject, said, seconds."""
        if self.fixtures.tiny is None and any(not GATES[gate].per_op for gate in task["gates"]):
            self.fixtures = _fixtures()
        if self.device == "cpu":
            for op in set(task["ops"]) - self.timed:
                self.order |= _times(op)
                self.timed.add(op)
        began = time.perf_counter()
        result = in_child(lambda say: self._trial(task, say), task["limit"])
        return {"id": task["id"], **result, "wall": round(time.perf_counter() - began, 2)}

    def _trial(self, task: Task, say: Say) -> Result:
        enter(Path(task["overlay"]))
        interpreter.restore(PRISTINE)
        if task["witness"]:
            return evaluate.find_witness(task, self.device, self.order)
        return evaluate.first_kill(task, self.device, self.order, self.fixtures, say)


def _times(name: str) -> dict[str, float]:
    """Seconds of each case of an op without a fault: the quickest run first."""
    op = evaluate.REFERENCE_OPS[name]
    cases = [case for case in op.cases if not case.large]
    measure_op(op, cases[0])  # the first kernel of a process pays for the interpreter's own imports
    return {case.id: measure_op(op, case)["seconds"] for case in cases}


def _fixtures() -> Fixtures:
    from braidcheck.gates.engine import tiny_models
    from braidcheck.golden import subset
    from braidcheck.golden.resolve import resolve

    nano, golden = resolve("nano", "corpus", None, "cpu")
    with torch.random.fork_rng(devices=[]):
        models = tiny_models("qwen3")
    return Fixtures(*models, nano, subset.shortest(golden, TOKENS, ANSWERS, STEPS))


def main() -> None:
    """Answer tasks from standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # other output must not look like an answer
    torch.set_num_threads(1)
    worker = Worker(sys.argv[1])
    answers.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(worker.evaluate(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
