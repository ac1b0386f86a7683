"""The pytest plugin of a gate run: items return verdicts, workers send them, the controller collects the Run."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from braidcheck.config import Settings
from braidcheck.errors import UserError
from braidcheck.evidence.probes import judge_tree
from braidcheck.results import Run, Status, Verdict, write_atomically

SETTINGS = pytest.StashKey[Settings]()
VERDICT = pytest.StashKey[Verdict]()
PROPERTY = "verdict"
ALONE = ("timing", "speed", "speed_targets", "paired")  # gates that time something, and have a GPU to themselves
# Gates whose items share one long observation, so one worker takes them all.
SHARED = ("coherence", "layers", "static", *ALONE)
# Gates that judge kernels, not cases or machine code: they can judge those of another tree.
OF_KERNELS = ("coherence", "accuracy", "determinism", "edges", "engine", "fence", "layers", "loader", "targets")
EVERY_OP = "every op"  # the subject where Triton is missing, and with it the list of ops
PROGRESS = "progress.json"  # how far the run is, said by the controller
OBSERVING = "observing.txt"  # how far one long observation is, said by a worker


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--braidcheck", metavar="JSON", help="the settings of the gate run (braidcheck.config.Settings)")


def pytest_configure(config: pytest.Config) -> None:
    text = config.getoption("--braidcheck")
    if text is None:
        raise pytest.UsageError("this suite is run by: braidcheck gate")
    config.stash[SETTINGS] = Settings.from_json(text)
    given = getattr(config, "workerinput", None)
    if given is None:
        config.pluginmanager.register(Controller(config.stash[SETTINGS]))
        return
    if "gpu" in given:
        os.environ["CUDA_VISIBLE_DEVICES"] = given["gpu"]
    if folder := config.stash[SETTINGS].kernels:
        judge_tree(Path(folder))
    config.pluginmanager.register(Worker(config.stash[SETTINGS]), "braidcheck-worker")


@pytest.fixture(scope="session")
def settings(pytestconfig: pytest.Config) -> Settings:
    """What this run was asked to do."""
    return pytestconfig.stash[SETTINGS]


@pytest.fixture(scope="session")
def progress(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """``progress(text)``: shown to the person who waits while a long observation runs in this worker."""
    return pytestconfig.pluginmanager.getplugin("braidcheck-worker").say


def name(nodeid: str) -> tuple[str, str]:
    """Gate and subject of an item: ``test_accuracy.py::test_accuracy[case]`` is accuracy of case."""
    found = re.search(r"test_(\w+)\.py::\w+\[(.*)\]$", nodeid)
    return (found[1], found[2]) if found else ("suite", nodeid)


class Worker:
    """Runs the items: each returns its Verdict, which leaves on the report; an exception becomes an error."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.broken = False
        self.observing: Path | None = None

    def say(self, text: str) -> None:
        """Show how far this worker's observation is, until its item ends."""
        self.observing = Path(self.settings.out) / OBSERVING
        write_atomically(self.observing, text)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """With ``--op``, keep what is about these ops alone."""
        if self.settings.ops:
            wanted = (*self.settings.ops, EVERY_OP)
            items[:] = [item for item in items if name(item.nodeid)[1].split("[")[0] in wanted]

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        """Call the item and take what it returns as its verdict."""
        arguments = {key: pyfuncitem.funcargs[key] for key in pyfuncitem._fixtureinfo.argnames}
        verdict = pyfuncitem.obj(**arguments)
        if (verdict.gate, verdict.subject) != name(pyfuncitem.nodeid):
            raise TypeError(f"{pyfuncitem.nodeid} returned the verdict {verdict.id}")
        pyfuncitem.stash[VERDICT] = verdict
        if verdict.status == Status.NOT_JUDGED:
            pytest.skip(verdict.sentence)
        if verdict.status != Status.PASS:
            pytest.fail(verdict.sentence, pytrace=False)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the verdict on the report of the call, or of a setup that failed."""
        report = yield
        self.broken = self.broken or self._context_is_broken()
        if call.when == "setup":
            item.stash[_SETUP] = call.duration
        if call.when == "call" or (call.when == "setup" and call.excinfo is not None):
            verdict = item.stash.get(VERDICT, None) or self._error(item, call)
            seconds = round(item.stash[_SETUP] + (call.duration if call.when == "call" else 0), 3)
            verdict = replace(verdict, lane=self.settings.lane, seconds=seconds, reproduce=self._reproduce(item))
            report.user_properties.append((PROPERTY, verdict.to_json()))
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, Any, Any]:
        """End this process once its GPU context is broken: the reports are sent, a fresh worker takes the rest."""
        answer = yield
        if self.observing:
            self.observing.unlink(missing_ok=True)
            self.observing = None
        if self.broken:
            os._exit(1)
        return answer

    def _error(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Verdict:
        gate, subject = name(item.nodeid)
        assert call.excinfo is not None
        error = call.excinfo.value
        file = Path(self.settings.out) / "errors" / f"{re.sub(r'[^-.A-Za-z0-9]+', '_', f'{gate}-{subject}')[:150]}.txt"
        write_atomically(file, "".join(traceback.format_exception(error)))
        first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        said = first if isinstance(error, UserError) else f"{type(error).__name__}: {first}".rstrip(": ")
        broken = " The GPU context broke, so the worker was replaced." if self.broken else ""
        return Verdict(gate, subject, Status.ERROR, f"{said}.{broken}", numbers={"traceback": str(file)})

    def _reproduce(self, item: pytest.Item) -> str:
        gate, subject = name(item.nodeid)
        if gate == "accuracy":
            return self.settings.command("--op", subject.split("[")[0], "-k", subject.removesuffix("[large]"))
        words = re.findall(r"[\w.]+", subject.split(": ")[-1])
        return self.settings.command("-k", " and ".join((gate, *words)))

    def _context_is_broken(self) -> bool:
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            return False
        try:
            torch.cuda.synchronize()
        except RuntimeError:  # sticky: every later call in this process would fail the same way
            return True
        return False


_SETUP = pytest.StashKey[float]()


class Scheduler(LoadScopeScheduling):
    """One unit of work an item or, where items share an observation, a gate; what killed a worker is not run again.

    xdist's own groups (``--dist loadgroup``) do nothing under pytest 9.2, without a word.
    """

    def _split_scope(self, nodeid: str) -> str:
        gate, _ = name(nodeid)
        return gate if gate in SHARED else nodeid

    def remove_node(self, node: Any) -> str | None:
        """Forget ``node`` and hand its untouched work to others; the item that it died on, or None."""
        left = {scope: unit for scope, unit in self.assigned_work[node].items() if not all(unit.values())}
        dying = next(iter(left), None)
        killer = next(nodeid for nodeid, done in left.pop(dying).items() if not done) if dying else None
        # A unit that is finished must not go back either: xdist would hand it out and wait for it for ever.
        self.assigned_work[node] = left
        super().remove_node(node)
        return killer

    def _reschedule(self, node: Any) -> None:
        super()._reschedule(node)
        # A worker begins an item when it knows the next one or that there is none; xdist gives a replaced one too few.
        if self._pending_of(self.assigned_work[node]) < 2:
            super()._reschedule(node)


class Controller:
    """Hands out GPUs and work, collects the verdicts, and writes ``run.json``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.free = list(settings.gpus)
        self.expected: dict[str, None] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.running: dict[str, None] = {}

    def pytest_configure_node(self, node: Any) -> None:
        """Give a starting worker a GPU of its own; xdist gives a replaced worker a new id, so ids cannot."""
        if self.settings.gpus:
            node.workerinput["gpu"] = self.free.pop(0)

    def pytest_testnodedown(self, node: Any) -> None:
        """Take the GPU back from a worker that ended or died."""
        if self.settings.gpus:
            self.free.append(node.workerinput["gpu"])

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Scheduler:
        """Work goes out in the order of collection, one unit a case or a group."""
        return Scheduler(config, log)

    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        """What the workers collected is what the run must hold in the end."""
        self.expected |= dict.fromkeys(self._id(*name(nodeid)) for nodeid in ids)
        self._tell()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Show what is running."""
        self.running[" ".join(name(nodeid))] = None
        self._tell()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the verdict off the report; a report of a dead worker has none and becomes an error."""
        gate, subject = name(report.nodeid)
        for key, value in report.user_properties:
            if key == PROPERTY:
                self._take(Verdict.from_json(str(value)))
        if report.failed and self._id(gate, subject) not in self.verdicts:
            sentence = "The worker process died while judging this; see pytest.log."
            self._take(Verdict(gate, subject, Status.ERROR, sentence, lane=self.settings.lane))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file of the suite that cannot be collected is an error of its own."""
        if report.failed:
            last = str(report.longrepr).strip().splitlines()[-1].removeprefix("E").strip()
            sentence = f"The suite could not be collected: {last}"
            self._take(Verdict("suite", report.nodeid or "suite", Status.ERROR, sentence, lane=self.settings.lane))

    def pytest_sessionfinish(self) -> None:
        """Write what was judged, complete or not."""
        run = Run({}, tuple(self.expected), tuple(self.verdicts.values()))
        write_atomically(Path(self.settings.out) / "run.json", run.to_json())

    def _id(self, gate: str, subject: str) -> str:
        return f"{self.settings.lane}/{gate}/{subject}"

    def _take(self, verdict: Verdict) -> None:
        self.verdicts[verdict.id] = verdict
        self.running.pop(f"{verdict.gate} {verdict.subject}", None)
        self._tell()

    def _tell(self) -> None:
        body = {"done": len(self.verdicts), "total": len(self.expected), "running": list(self.running)}
        write_atomically(Path(self.settings.out) / PROGRESS, json.dumps(body))
