"""Runs one phase of a gate run as a separate pytest run, isolated from the surrounding project's configuration."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import typer

from braidcheck import environment, kernels, scratch
from braidcheck.errors import NotAvailable
from braidcheck.processes import attend
from braidcheck.report import run_json
from braidcheck.report.progress import Progress, State
from braidcheck.result import Run
from braidcheck.schedule import estimate, imports
from braidcheck.schedule.durations import Durations
from braidcheck.schedule.estimate import OBSERVING, PROGRESS, unit_of
from braidcheck.schedule.imports import DIED_COLLECTING
from braidcheck.settings import Settings

SUITE, ITEMS = environment.PACKAGE / "suite", "items.py"
TIMEOUT = 600  # default time limit of an item, in seconds
FOREIGN = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "TRITON_INTERPRET")


def _plugins(*own: str) -> list[str]:
    """The options that load ``own`` and the plugins that every phase needs."""
    return [word for name in ("xdist", "pytest_timeout", *own, "no:cacheprovider") for word in ("-p", name)]


@dataclass(frozen=True)
class Phase:
    """One pytest run: the items of some gates on so many workers, written to a folder of its name."""

    name: str
    gates: tuple[str, ...]
    settings: Settings
    workers: int
    expression: str
    durations: Durations = field(default_factory=Durations.shipped)  # durations for estimating the time left

    @property
    def out(self) -> Path:
        """The folder of this phase."""
        return Path(self.settings.out) / self.name

    def command(self) -> list[str]:
        """The pytest command: everything is named explicitly, nothing is discovered."""
        settings = replace(self.settings, out=str(self.out))
        method = "thread" if settings.lane == "gpu" else "signal"  # a hung kernel never lets a signal handler run
        options = {
            "--config-file": SUITE / "pytest.ini",
            "--rootdir": SUITE,
            "--import-mode": "importlib",
            "--braidcheck": settings.to_json(),
            "--numprocesses": self.workers,
            "--dist": "loadscope",
            "--max-worker-restart": 16 + self.workers,
            "--timeout": TIMEOUT,
            "--timeout-method": method,
            "--junitxml": self.out / "junit.xml",
        }
        # No check uses a folder of pytest's; with the tmpdir plugin a run ends only when pytest has removed the folders
        # that earlier runs of this user left behind: minutes on a slow disk.
        plugins = _plugins("braidcheck.plugin", "no:tmpdir")
        words = [f"{name}={value}" for name, value in options.items()]
        words += ["-k", self.expression] if self.expression else []
        flags = ["--no-loadscope-reorder", "--continue-on-collection-errors"]
        items = [f"{SUITE / ITEMS}::test_{gate}" for gate in self.gates]
        return [sys.executable, "-m", "pytest", *plugins, *words, *flags, *items]

    def temporary(self, folder: Path) -> list[str]:
        """The options by which pytest makes its temporary folders in ``folder``: none are made here."""
        return []

    @property
    def folder(self) -> Path | None:
        """The working directory; None for that of this process."""
        return None

    def variables(self) -> dict[str, str]:
        """The child's environment: the lane's switch, no pytest settings of the user, no oversubscribed cores."""
        child_environment = variables() | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TOKENIZERS_PARALLELISM": "false"}
        if self.settings.lane == "interpret":
            # The interpreter's blocks are small: a second thread only slows it down (measured: twice the time).
            return child_environment | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
        # Line info is part of Triton's cache key; without it the static gate and the GPU share compiled kernels.
        threads = str(max(1, environment.cpus() // self.workers))
        return child_environment | {"OMP_NUM_THREADS": threads, "TRITON_DISABLE_LINE_INFO": "1"}


@dataclass(frozen=True)
class ProjectTests(Phase):
    """A project's own GPU tests, with its pytest configuration and in its folder; one verdict per test."""

    def command(self) -> list[str]:
        """The pytest command; ``gates`` holds the path of the tests."""
        settings = replace(self.settings, out=str(self.out))
        plugins = _plugins("braidcheck.suite.project_tests")
        words = ["-m", "gpu", f"--braidcheck={settings.to_json()}", f"--numprocesses={self.workers}"]
        words += ["--dist=loadscope", "--no-loadscope-reorder", f"--max-worker-restart={16 + self.workers}"]
        words += ["--timeout-method=thread", f"--junitxml={self.out / 'junit.xml'}"]
        words += ["-k", self.expression] if self.expression else []
        return [sys.executable, "-m", "pytest", *plugins, *words, *self.gates]

    def temporary(self, folder: Path) -> list[str]:
        """The tests' own temporary folders end with the run; pytest would keep those of three runs."""
        return [f"--basetemp={folder / 'pytest'}"]

    @property
    def folder(self) -> Path | None:
        """The parent of the tests' folder, from which pytest finds its configuration."""
        return Path(self.gates[0]).parent


def launch(phase: Phase) -> tuple[bool, Run]:
    """Run ``phase``; whether it was interrupted, and its Run. Raises NotAvailable if pytest itself broke."""
    phase.out.mkdir(parents=True)
    log = phase.out / "pytest.log"
    title = f"{phase.name} on the {phase.settings.lane} lane"
    with log.open("wb") as file, scratch.Folder(phase.name) as folder, Progress(title, lambda: _look(phase)):
        command = [*phase.command(), *phase.temporary(folder)]
        interrupted, code = attend(command, phase.variables(), stdout=file, stderr=file, cwd=phase.folder)
    for name in (PROGRESS, OBSERVING):
        (phase.out / name).unlink(missing_ok=True)
    if (phase.out / DIED_COLLECTING).exists() and not interrupted and not phase.settings.broken:
        return _launch_without_broken(phase, log)
    for name in (run_json.FILE, *([run_json.PARTIAL] if interrupted else [])):
        if (phase.out / name).exists():
            return interrupted, Run.from_json((phase.out / name).read_text(encoding="utf-8"))
    if interrupted:
        return True, Run({}, (), ())
    raise NotAvailable(f"the gate's own test run broke (exit code {code}): {_error_line(log)}; see {log}")


def _launch_without_broken(phase: Phase, log: Path) -> tuple[bool, Run]:
    """Run ``phase`` again without the ops whose import crashes or hangs; each of these fails with its cause."""
    with Progress("looking for the op that cannot be imported"):
        broken = tuple(imports.broken(kernels.names(), phase.settings.lane).items())
    if not broken:
        raise NotAvailable(f"every worker process died while collecting checks: {_error_line(log)}; see {log}")
    shutil.rmtree(phase.out)
    return launch(replace(phase, settings=replace(phase.settings, broken=broken)))


def record_golden(settings: Settings) -> None:
    """Record the golden of another model if it is missing, in a process without the interpreter. Raises CheckpointError
    if braidcheck's engine cannot run the model.
    """
    from braidcheck import models
    from braidcheck.golden.resolve import find_checkpoint

    checkpoint, _ = find_checkpoint(settings.model, settings.revision)
    models.of_checkpoint(checkpoint).config_of(checkpoint)
    words = ["golden", "record", settings.model, "--dataset", settings.dataset]
    words += ["--revision", settings.revision] if settings.revision else []
    code = subprocess.run([sys.executable, "-m", "braidcheck", *words], env=variables(), check=False).returncode
    if code:  # the child has printed why
        raise typer.Exit(code)


def variables(tree: Path = environment.PACKAGE.parent) -> dict[str, str]:
    """This process's environment without variables that change a run, and with the braidcheck of ``tree`` on the
    path."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    path = [str(tree), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}  # nothing from the working directory


def _error_line(log: Path) -> str:
    """The most informative line of the log: the last that names an error, else the last."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    named = [match[0] for line in lines if (match := re.search(r"[\w.]*rror: .*", line))]
    return (named or lines or ["no output"])[-1]


def _look(phase: Phase) -> State:
    """The latest progress of the run's processes, and the estimated time left."""
    try:
        body = json.loads((phase.out / PROGRESS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return State(0, 0, "starting")
    bad, alive = body.pop("bad"), body.pop("alive")
    state = estimate.State(**body)
    try:
        text = (phase.out / OBSERVING).read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ", ".join(" ".join(_parts(name)) for name in list(state.running)[:2]) or _ending(state, alive)
    left = estimate.words(state, phase.durations, lambda name: unit_of(*_parts(name)), phase.workers, time.time())
    return State(len(state.done), len(state.expected), text, left, tuple(_news(state, bad)))


def _ending(state: estimate.State, alive: Sequence[str]) -> str:
    """What a run that has all verdicts still waits for; empty if verdicts are missing."""
    if not state.expected or set(state.expected) - state.done.keys():
        return ""
    waited = f"worker {' and '.join(alive)} to end" if alive else "pytest to clean up and end"
    return f"all checks are done, waiting for {waited}"


def _news(state: estimate.State, bad: Mapping[str, str]) -> Iterator[str]:
    """The first verdict, as a sign of life, and the first that neither pass nor are skipped, of which ``bad`` has the
    messages."""
    for name in itertools.islice(state.done, 1):
        if name not in bad:
            yield f"first of {len(state.expected)} checks done: {' '.join(_parts(name))}"
    for name, message in bad.items():
        status, _, text = message.partition(": ")
        yield f"{status} {' '.join(_parts(name))}: {' '.join(text.split())}"


def _parts(name: str) -> tuple[str, str]:
    """Gate and subject of a verdict's id, which begins with the lane."""
    _, gate, subject = name.split("/", 2)
    return gate, subject
