"""Runs a project's own tests on faults in its kernels: which do they catch, and which survive?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

from braidcheck import environment
from braidcheck.autosave import Autosave
from braidcheck.errors import UserError
from braidcheck.mutants.project import copies
from braidcheck.mutants.project.generate import SourceFile, SourceMutant
from braidcheck.mutants.project.trials import Ended, Trials

FORMAT = 1
KILLED, TIMEOUT, SURVIVED, NO_COVERAGE = "killed", "timeout", "survived", "no coverage"
CAUGHT = (KILLED, TIMEOUT)
LIMIT_FACTOR, MIN_LIMIT_S = 5, 20  # times the unmutated run's seconds; and more seconds, for a busy machine


class Row(TypedDict):
    """One mutant: its ``outcome``, the command's last line (``said``) and its seconds. ``witness`` is an input on which
    a survivor differs, or how the search ended."""

    id: str
    file: str
    function: str
    family: str
    operator: str
    description: str
    line: int
    diff: Sequence[str]
    outcome: str
    said: str
    seconds: float
    witness: str


class Result(TypedDict):
    """A run: ``generated`` mutants, of which ``mutants`` were drawn and tried; ``missing`` are still to be tried."""

    format: int
    test: str
    sources: list[str]
    lane: str
    environment: environment.Fingerprint
    seed: int
    generated: int
    missing: int
    unmutated_seconds: float
    limit_seconds: float
    seconds: float
    mutants: list[Row]


@dataclass(frozen=True)
class ProjectRequest:
    """The request: plant faults in ``sources`` and run ``command``; ``seed`` draws from more than ``limit`` mutants."""

    sources: Sequence[Path]
    command: str
    lane: str
    jobs: int
    seed: int = 0
    limit: int | None = None


class ProjectRun:
    """One run, from the sources to the result."""

    def __init__(
        self,
        request: ProjectRequest,
        progress: Callable[[str, int, int], None] = lambda text, done, total: None,
        keep: Callable[[Result], None] = lambda result: None,
    ) -> None:
        """``progress(text, done, total)`` is told of each trial; ``keep`` is given the unfinished result now and then.

        Raises UserError if the sources lie in several projects, or hold nothing that can be mutated.
        """
        self.request, self.progress, self.keep = request, progress, keep
        paths = [source.resolve() for source in request.sources]
        roots = {copies.root_of(path) for path in paths}
        if len(roots) > 1:
            raise UserError(f"--source: these files lie in {len(roots)} projects; give those of one")
        self.root, self.paths = roots.pop(), paths
        self.files = _files(self.root, paths)
        mutants = [mutant for file in self.files.values() for mutant in file.mutants()]
        if not mutants:
            named = ", ".join(self.files)
            raise UserError(f"--source: no function in {named} is decorated with triton.jit, or launches one that is")
        self.generated = len(mutants)
        self.chosen = mutants if request.limit is None or request.limit >= len(mutants) else _drawn(mutants, request)
        self.rows: dict[str, Row] = {}
        self.unmutated = self.limit = 0.0
        self.autosave = Autosave(lambda: self.keep(self.result()))
        self.began = time.monotonic()

    def result(self) -> Result:
        """What was found so far."""
        request = self.request
        return {
            "format": FORMAT, "test": request.command, "sources": list(self.files), "lane": request.lane,
            "environment": environment.fingerprint(), "seed": request.seed, "generated": self.generated,
            "missing": len(self.chosen) - len(self.rows), "unmutated_seconds": round(self.unmutated, 1),
            "limit_seconds": round(self.limit, 1), "seconds": round(time.monotonic() - self.began, 1),
            "mutants": [self.rows[mutant.id] for mutant in self.chosen if mutant.id in self.rows],
        }  # fmt: skip

    def run(self) -> Result:
        """The result. Raises UserError if the command fails without a mutant, or does not import the source."""
        request = self.request
        with Trials(self.root, self.paths, request.command, request.jobs, _settings(request.lane)) as trials:
            self._run_unmutated(trials)
            uncovered = self._uncovered(trials)
            for mutant in self.chosen:
                if (mutant.file, mutant.function) in uncovered:
                    reason = f"the command does not run {mutant.function}"
                    self._take(mutant, NO_COVERAGE, Ended(0, 0.0, reason))
            untried = [mutant for mutant in self.chosen if mutant.id not in self.rows]
            trials.side_by_side(lambda mutant: self._try(trials, mutant), untried)
        return self.result()

    def _run_unmutated(self, trials: Trials) -> None:
        """In all copies at once, like mutants later, so that the time is measured under the same load."""
        self.progress("running the tests without a mutant", 0, 0)
        for ended in trials.side_by_side(lambda _: trials.run(None), range(self.request.jobs)):
            if ended.code != 0:
                raise UserError(f"--test fails without a mutant, exit code {ended.code}: {ended.said}")
            self.unmutated = max(self.unmutated, ended.seconds)
        self.limit = LIMIT_FACTOR * self.unmutated + MIN_LIMIT_S

    def _uncovered(self, trials: Trials) -> set[tuple[str, str]]:
        """File and name of functions that can be completely broken without the command failing."""
        names = list(dict.fromkeys((mutant.file, mutant.function) for mutant in self.chosen))

        def survives(name: tuple[str, str]) -> bool:
            file, function = name
            self.progress(f"testing whether {function} runs", 0, 0)
            return trials.run(self.limit, file, self.files[file].unreachable(function)).code == 0

        alive_names = {name for name, alive in zip(names, trials.side_by_side(survives, names), strict=True) if alive}
        for file in {file for file, _ in names if all(name in alive_names for name in names if name[0] == file)}:
            if trials.run(self.limit, file, self.files[file].unimportable()).code == 0:
                raise UserError(f"--test does not import {file} from its copy of the project: {self._hint(file)}")
        return alive_names

    def _hint(self, file: str) -> str:
        name = file.removeprefix("src/").removesuffix(".py").replace("/", ".")
        return f"it imports another {name}, or none; paths in the command must be relative"

    def _try(self, trials: Trials, mutant: SourceMutant) -> None:
        ended = trials.run(self.limit, mutant.file, mutant.text)
        outcome = TIMEOUT if ended.code is None else KILLED if ended.code else SURVIVED
        if outcome == TIMEOUT:
            ended = Ended(None, ended.seconds, f"still running after {self.limit:.0f} s")
        self._take(mutant, outcome, ended)

    def _take(self, mutant: SourceMutant, outcome: str, ended: Ended) -> None:
        about = {name: value for name, value in asdict(mutant).items() if name != "text"}
        alive = outcome in (SURVIVED, NO_COVERAGE)
        witness = "none sought" if alive else ""
        self.rows[mutant.id] = Row(
            **about, outcome=outcome, said=ended.said, seconds=ended.seconds, witness=witness  # type: ignore[typeddict-item]
        )  # fmt: skip
        self.progress(f"{mutant.id} {outcome}", len(self.rows), len(self.chosen))
        self.autosave.update()


def score(rows: Sequence[Row]) -> tuple[int, int]:
    """Mutants that the tests caught, of how many."""
    return sum(row["outcome"] in CAUGHT for row in rows), len(rows)


def _files(root: Path, paths: Sequence[Path]) -> dict[str, SourceFile]:
    kernels = [kernel for path in paths for kernel in SourceFile(root, path).kernels]
    files = [SourceFile(root, path, kernels) for path in paths]
    return {file.file: file for file in files}


def _drawn(mutants: Sequence[SourceMutant], request: ProjectRequest) -> list[SourceMutant]:
    numbers = random.Random(request.seed).sample(range(len(mutants)), request.limit or 0)
    return [mutants[number] for number in sorted(numbers)]


def _settings(lane: str) -> list[Mapping[str, str]]:
    if lane == "gpu":
        return [{"TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": gpu["id"]} for gpu in environment.gpus()]
    return [{"TRITON_INTERPRET": "1"}]
