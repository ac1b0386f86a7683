"""The controller of a gate run: gives out GPUs and work to xdist's workers, collects verdicts, writes the Run."""

from __future__ import annotations

import itertools
import json
import math
import re
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from braidcheck.autosave import Autosave
from braidcheck.report import run_json
from braidcheck.result import Run, Status, Verdict, write_atomically
from braidcheck.schedule import crashes
from braidcheck.schedule.estimate import PROGRESS, unit_of
from braidcheck.schedule.imports import DIED_COLLECTING
from braidcheck.schedule.selection import SUITE
from braidcheck.schedule.workers import Scheduler
from braidcheck.settings import Settings

PROPERTY = "verdict"  # attribute of a report: the item's verdict as JSON
GIVEN_BACK = "given-back.txt"  # items that ran out of GPU memory beside others, one per line: they run alone next
MAX_NEWS = 10  # verdicts other than pass that are printed while the run goes on: the report has all


def name(nodeid: str) -> tuple[str, str]:
    """Gate and subject of an item: ``items.py::test_accuracy[case]`` is accuracy of case."""
    match = re.search(r"::test_(\w+)\[(.*)\]$", nodeid)
    return (match[1], match[2]) if match else ("suite", nodeid)


class Controller:
    """Hands out GPUs and work, collects the verdicts, and writes ``run.json``; what a killed run had is in
    ``partial-run.json``."""

    name = staticmethod(name)

    def __init__(self, settings: Settings, workers: int = 1) -> None:
        self.settings = settings
        self.workers_on_gpu = math.ceil(workers / len(settings.gpus)) if settings.gpus else 0
        self.free = list(itertools.islice(itertools.cycle(settings.gpus), workers))
        self.expected: dict[str, None] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.running: dict[str, float] = {}  # since when, in seconds since 1970
        self.alive: dict[str, None] = {}  # workers that have not ended
        self.end: signal.Signals | None = None  # what ended the worker that died last
        self.autosave = Autosave(lambda: self._write(run_json.PARTIAL, interrupted=True))

    def pytest_configure_node(self, node: Any) -> None:
        """Give a starting worker its GPU; xdist gives a replaced worker a new id, so ids cannot."""
        self.alive[node.gateway.id] = None
        if self.settings.gpus:
            node.workerinput |= {"gpu": self.free.pop(0), "workers_on_gpu": self.workers_on_gpu}

    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take the GPU back from a worker that ended or died; stop the run if it could not even collect its items."""
        self.alive.pop(node.gateway.id, None)  # xdist may call this twice
        self._tell()
        if self.settings.gpus:
            self.free.append(node.workerinput["gpu"])
        self.end = crashes.signal_of(node) if error else None
        if error and not self.expected:  # its replacement would die too
            write_atomically(Path(self.settings.out) / DIED_COLLECTING, str(error))
            # No more replacements; ``shouldstop`` would start all of them first.
            node.config.pluginmanager.getplugin("dsession")._max_worker_restart = 0

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Scheduler:
        """Hand out work in the order of collection; a unit is a case or a group."""
        return Scheduler(config, log, self.scope, Path(self.settings.out) / GIVEN_BACK)

    def scope(self, nodeid: str) -> str:
        """The unit of work that an item belongs to."""
        return unit_of(*self.name(nodeid))

    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        """The run must have a verdict for everything that the workers collected."""
        self.expected |= dict.fromkeys(self._id(*self.name(nodeid)) for nodeid in ids)
        self._tell()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Show what is running."""
        self.running[self._id(*self.name(nodeid))] = time.time()
        self._tell()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the verdict from the report. The report of a dead worker has none: its item fails or is an error, by how
        the worker died, or has no verdict if the worker was ended together with this run."""
        gate, subject = self.name(report.nodeid)
        for key, value in report.user_properties:
            if key == PROPERTY:
                self.take(Verdict.from_json(str(value)))
        if report.failed and self._id(gate, subject) not in self.verdicts:
            if crashes.ends_with_run(self.end):
                return
            status, message = crashes.verdict_on(self.end)
            self.take(Verdict(gate, subject, status, message, lane=self.settings.lane))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A suite file that cannot be collected is an error."""
        if report.failed:
            last = str(report.longrepr).strip().splitlines()[-1].removeprefix("E").strip()
            message = f"The suite could not be collected: {last}"
            self.take(Verdict("suite", report.nodeid or "suite", Status.ERROR, message, lane=self.settings.lane))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the Run, complete or not."""
        self._write(run_json.FILE, exitstatus == pytest.ExitCode.INTERRUPTED)
        (Path(self.settings.out) / run_json.PARTIAL).unlink(missing_ok=True)

    def _write(self, name: str, interrupted: bool) -> None:
        file = Path(self.settings.out) / SUITE
        about = {"suite": json.loads(file.read_text(encoding="utf-8"))} if file.exists() else {}
        if interrupted:
            about["interrupted"] = True
        run = Run(about, tuple(self.expected), tuple(self.verdicts.values()))
        write_atomically(Path(self.settings.out) / name, run.to_json())

    def _id(self, gate: str, subject: str) -> str:
        return f"{self.settings.lane}/{gate}/{subject}"

    def take(self, verdict: Verdict) -> None:
        """Keep a verdict, replacing an earlier one with its id."""
        self.verdicts[verdict.id] = verdict
        self.running.pop(verdict.id, None)
        self._tell()
        self.autosave.update()

    def _tell(self) -> None:
        done = {verdict.id: verdict.seconds for verdict in self.verdicts.values()}
        bad = [verdict for verdict in self.verdicts.values() if verdict.status not in (Status.PASS, Status.SKIPPED)]
        news = {verdict.id: f"{verdict.status}: {verdict.message}" for verdict in bad[:MAX_NEWS]}
        body = {"expected": list(self.expected), "done": done, "running": self.running}
        body |= {"bad": news, "alive": list(self.alive)}
        write_atomically(Path(self.settings.out) / PROGRESS, json.dumps(body))
