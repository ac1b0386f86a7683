"""Runs mutants on several workers and returns the outcome of each: the kill matrix."""

from __future__ import annotations

import itertools
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from braidcheck import environment, scratch
from braidcheck.autosave import Autosave
from braidcheck.errors import NotAvailable
from braidcheck.mutants import selection
from braidcheck.mutants.evidence import Matrix, Result, Row, Task
from braidcheck.mutants.mutant import CONTROL, Mutant, control, overlay, snapshot
from braidcheck.mutants.syntax import difference
from braidcheck.mutants.threads import next_of, side_by_side

FORMAT = 1
DIED = "the worker itself died"
MAX_MESSAGE_LENGTH = 160  # characters


class Runner:
    """Distributes mutants to workers, processes that fork for every trial."""

    def __init__(
        self,
        lane: str,
        progress: Callable[[str, int, int], None] = lambda text, done, total: None,
        blame: bool = False,
        keep: Callable[[Matrix], None] = lambda matrix: None,
    ) -> None:
        """``lane`` is interpret or gpu; ``progress(text, done, total)`` is told about each trial that ended.

        With ``blame`` mutants meet the coherence gate alone, and the ops that it blames for a failure are recorded.
        ``keep`` is given the unfinished matrix from time to time, so that a killed run does not lose all of it.
        """
        self.lane = lane
        self.progress = progress
        self.blame = blame
        self.keep = keep
        self.autosave = Autosave(self._keep)
        self.rows: dict[str, Row] = {}
        self.gates: dict[str, tuple[str, ...]] = {}
        self.total = 0
        self.began = time.monotonic()
        self.devices = itertools.cycle([gpu["id"] for gpu in environment.gpus()] if lane == "gpu" else [""])

    def run(self, mutants: Sequence[Mutant], workers: int) -> Matrix:
        """The kill matrix of ``mutants`` and of the unmutated package. Raises NotAvailable if no worker starts."""
        ops = tuple(sorted({op for mutant in mutants for op in mutant.ops}))
        self.gates = {mutant.id: selection.gates(mutant, self.blame) for mutant in mutants}
        mutants = [mutant for mutant in mutants if self.gates[mutant.id]]
        # Those that many ops are asked for take the longest: they come first, so that the others do not wait for them
        # at the end.
        everything = (control(ops), *sorted(mutants, key=lambda mutant: -len(mutant.ops)))
        met = {gate for gates in self.gates.values() for gate in gates}
        self.gates = {CONTROL: tuple(gate for gate in selection.GATES if gate in met)} | self.gates
        self.total = len(everything)
        todo: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
        for mutant in everything:
            todo.put(mutant)
        with scratch.Folder("mutants") as folder:
            source = snapshot(folder / "source")
            try:
                side_by_side(min(workers, self.total), lambda: self._work(source, todo), todo)
                self._again(source, everything)
            except KeyboardInterrupt:
                self.rows = {name: row for name, row in self.rows.items() if row["said"] != DIED}
                self._keep()
                raise
            if len(self.rows) < self.total:
                raise NotAvailable("the workers could not start; see their output above")
            self._keep()
            if not self.blame:
                self._find_witnesses(source, mutants, workers)
        return self._matrix()

    def witnesses(self, mutants: Sequence[Mutant], workers: int) -> dict[str, str]:
        """By id of mutants that survived elsewhere: an input on which an op differs, or how one was sought."""
        rows = {mutant.id: {"outcome": "survived", "witness": "none sought"} for mutant in mutants}
        self.rows = cast(dict[str, Row], rows)
        with scratch.Folder("mutants") as folder:
            self._find_witnesses(snapshot(folder / "source"), mutants, workers)
        return {name: row["witness"] for name, row in self.rows.items()}

    def _again(self, source: Path, mutants: Sequence[Mutant]) -> None:
        """Retry mutants that ran out of memory beside others, one at a time."""
        todo: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
        for mutant in mutants:
            row = self.rows.get(mutant.id)
            if row and row["outcome"] == "error" and "out of memory" in row["said"].lower():
                todo.put(mutant)
        if not todo.empty():
            self._work(source, todo)

    def _matrix(self) -> Matrix:
        return {
            "format": FORMAT,
            "lane": self.lane,
            "blame": self.blame,
            "environment": environment.fingerprint(),
            "seconds": round(time.monotonic() - self.began, 1),
            "mutants": [self.rows[name] for name in self.gates if name in self.rows],
        }

    def _find_witnesses(self, source: Path, mutants: Sequence[Mutant], workers: int) -> None:
        """Give each survivor an input on which it differs from the package as it is, or say how one was sought.

        Those that are listed as equivalent are marked: they must have none.
        """
        left: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
        reasons = selection.equivalents()
        for mutant in mutants:
            if mutant.id in reasons:
                self.rows[mutant.id]["equivalent"] = reasons[mutant.id]
            if self.rows[mutant.id]["outcome"] != "survived":
                continue
            if mutant.text:
                before = (source / environment.PACKAGE.name / mutant.file).read_text("utf-8")
                line, self.rows[mutant.id]["diff"] = difference(before, mutant.text)
                self.rows[mutant.id]["place"] = f"{mutant.file.removeprefix('../')}:{line}"
            if mutant.ops and mutant.lane in ("", self.lane):
                left.put(mutant)
        total = left.qsize()

        def work() -> None:
            worker = self._start(source)
            while worker and (mutant := next_of(left)):
                result = self._trial(worker, source, mutant, witness=True)
                message = f"the search ended in {result['outcome']}: {result.get('said', '')[:MAX_MESSAGE_LENGTH]}"
                self.rows[mutant.id]["witness"] = result.get("witness", message)
                self.progress("looking for witnesses", total - left.qsize(), total)
                if worker.poll() is not None:
                    worker = self._start(source)
            if worker:
                _end(worker)

        side_by_side(min(workers, total), work, left)

    def _work(self, source: Path, todo: queue.SimpleQueue[Mutant]) -> None:
        """Run one worker until ``todo`` is empty. One that ends is replaced; its last trial is an error."""
        worker = self._start(source)
        while worker:
            mutant = next_of(todo)
            if mutant is None:
                _end(worker)
                return
            if mutant.stale:
                result: Result = {"outcome": "stale", "said": mutant.stale}
            elif mutant.lane not in ("", self.lane):
                result = {"outcome": "survived", "said": f"not run: only the {mutant.lane} lane can show it"}
            else:
                result = self._trial(worker, source, mutant)
            self._take(_row(mutant, result))
            if worker.poll() is not None:
                worker = self._start(source)

    def _start(self, source: Path) -> subprocess.Popen[str] | None:
        lane, device = {"TRITON_INTERPRET": "1"}, "cpu"
        if self.lane == "gpu":  # a worker must not open it by asking for it, or none of its children could
            lane = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "CUDA_VISIBLE_DEVICES": next(self.devices)}
            device = "cuda"
        worker = subprocess.Popen(
            [sys.executable, "-m", "braidcheck.mutants.worker", device], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=source, env=environment.for_worker(source) | lane,
        )  # fmt: skip
        assert worker.stdout  # a pipe
        return worker if worker.stdout.readline() else None

    def _trial(self, worker: subprocess.Popen[str], source: Path, mutant: Mutant, witness: bool = False) -> Result:
        folder = Path(tempfile.mkdtemp(dir=source.parent))
        task: Task = {
            "id": mutant.id,
            "overlay": str(overlay(source, mutant, folder)),
            "ops": mutant.ops,
            "gates": () if witness else self.gates[mutant.id],
            "first": mutant.expected_detector[1],
            "limit": selection.LIMITS[mutant.kind] * max(1, len(mutant.ops)),
            "blame": self.blame,
            "witness": witness,
        }
        assert worker.stdin  # a pipe
        assert worker.stdout
        try:
            worker.stdin.write(json.dumps(task) + "\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if answer:
            return json.loads(answer)
        worker.wait()
        return {"outcome": "error", "said": DIED}

    def _take(self, row: Row) -> None:
        self.rows[row["id"]] = row
        done = len(self.rows)
        left = (time.monotonic() - self.began) / done * (self.total - done)
        self.progress(f"{row['id']} {row['outcome']}; about {left / 60:.0f} min left", done, self.total)
        self.autosave.update()

    def _keep(self) -> None:
        self.keep({**self._matrix(), "missing": self.total - len(self.rows)})


def _end(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin  # a pipe
    worker.stdin.close()
    worker.wait()


def _row(mutant: Mutant, result: Result) -> Row:
    row: Row = {
        "id": mutant.id,
        "kind": mutant.kind,
        "part": mutant.part,
        "description": mutant.description,
        "bug": mutant.bug,
        "outcome": result["outcome"],
        "gate": result.get("gate", ""),
        "subject": result.get("subject", ""),
        "said": result.get("said", "")[:MAX_MESSAGE_LENGTH],
        "seconds": result.get("wall", 0.0),
        "gates": result.get("seconds", {}),
    }
    if mutant.family:
        row["family"] = mutant.family
    return {**row, "ops": mutant.ops, "blame": result["blame"]} if "blame" in result else row
