"""The pytest plugin of a gate run: items return verdicts, workers send them, the controller collects the Run."""

from __future__ import annotations

import faulthandler
import itertools
import json
import math
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import pytest

from braidcheck import kernels
from braidcheck.errors import UserError
from braidcheck.gates import GATES
from braidcheck.gates.gate import ALL_OPS
from braidcheck.gates.under_test import use_package
from braidcheck.gpu_memory import GpuMemory, context_is_broken, is_out_of_memory
from braidcheck.isolation import privacy
from braidcheck.result import Run, Status, Verdict, write_atomically
from braidcheck.schedule.estimate import OBSERVING, PROGRESS, unit_of
from braidcheck.schedule.imports import COLLECT_S, DIED_COLLECTING
from braidcheck.schedule.selection import SKIPPED, SUITE, Selection
from braidcheck.schedule.workers import Scheduler, lines
from braidcheck.settings import Settings

SETTINGS = pytest.StashKey[Settings]()
VERDICT = pytest.StashKey[Verdict]()
PROPERTY = "verdict"
TIMED = tuple(gate.name for gate in GATES.values() if gate.timed)
GIVEN_BACK = "given-back.txt"  # items that found no GPU memory left beside others, a line each: they go alone next
MAX_NEWS = 10  # verdicts that are told at once: the report has all
ALL = 1.0  # of a GPU's memory
GRACE_S = 5.0  # in which the process of a worker that is gone is expected to end
# A process ends of these by what it computes itself; by others, where something outside of it ends it.
OWN_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--braidcheck", metavar="JSON", help="the settings of the gate run (braidcheck.settings.Settings)")


def pytest_configure(config: pytest.Config) -> None:
    start(config, SuiteWorker, Controller)


def _end_with_gate(config: pytest.Config) -> None:
    """Let the run end when the gate does, however that ends: it then writes what it has.

    The interrupt waits in xdist's queue behind the reports that have come, so that none is lost halfway. The kernel
    sends a signal for each thread of the gate that ends: the first one counts.
    """

    def interrupt() -> None:
        raise KeyboardInterrupt

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        session = config.pluginmanager.getplugin("dsession")
        if session is None:  # nothing has begun
            raise KeyboardInterrupt
        session.worker_gate_ended = interrupt
        # A queue must not be written to by what interrupts its own reader.
        threading.Thread(target=session.queue.put, args=(("gate_ended", {}),), daemon=True).start()

    signal.signal(signal.SIGTERM, end)
    privacy.end_with_parent(signal.SIGTERM)


def start(config: pytest.Config, worker: type[Worker], controller: type[Controller]) -> None:
    """Make this process the run's controller, or one of its workers with the GPU that the controller gave it."""
    text = config.getoption("--braidcheck")
    if text is None:
        raise pytest.UsageError("this suite is run by: braidcheck gate")
    settings = config.stash[SETTINGS] = Settings.from_json(text)
    given = getattr(config, "workerinput", None)
    if given is None:
        _end_with_gate(config)
        config.pluginmanager.register(controller(settings, config.getoption("numprocesses", 1)))
        return
    privacy.end_with_parent()
    faulthandler.dump_traceback_later(COLLECT_S, exit=True)  # until the items are collected
    kernels.leave_out(dict(settings.broken))
    memory = None
    if "gpu" in given:
        os.environ["CUDA_VISIBLE_DEVICES"] = given["gpu"]
        memory = GpuMemory(Path(settings.out) / f"gpu-{given['gpu']}", given["workers_on_gpu"])
    if settings.kernels:
        use_package(Path(settings.kernels))
    config.pluginmanager.register(worker(settings, memory), "braidcheck-worker")
    config.pluginmanager.register(Selection(settings, worker.name, unit_of, TIMED, worker.later))


@pytest.fixture(scope="session")
def settings(pytestconfig: pytest.Config) -> Settings:
    """What this run was asked to do."""
    return pytestconfig.stash[SETTINGS]


@pytest.fixture(scope="session")
def progress(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """``progress(text)``: shown to the person who waits while a long measurement runs in this worker."""
    return pytestconfig.pluginmanager.getplugin("braidcheck-worker").say


def name(nodeid: str) -> tuple[str, str]:
    """Gate and subject of an item: ``items.py::test_accuracy[case]`` is accuracy of case."""
    found = re.search(r"::test_(\w+)\[(.*)\]$", nodeid)
    return (found[1], found[2]) if found else ("suite", nodeid)


class Worker:
    """Runs the items: each has a Verdict, which leaves on the report. Shares its GPU's memory with other workers."""

    name = staticmethod(name)
    later: tuple[str, ...] = ()  # gates that a later phase runs, which the balance of shards counts here

    def __init__(self, settings: Settings, memory: GpuMemory | None = None) -> None:
        self.settings = settings
        self.memory = memory
        self.given_back = Path(settings.out) / GIVEN_BACK
        self.broken = False
        self.observing: Path | None = None

    def pytest_collection_finish(self) -> None:
        """From here on an item's own limit counts."""
        faulthandler.cancel_dump_traceback_later()

    def say(self, text: str) -> None:
        """Show how far this worker's measurement is, until its item ends."""
        self.observing = Path(self.settings.out) / OBSERVING
        write_atomically(self.observing, text)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the verdict on the report of the call, or of a setup that failed."""
        report = yield
        if call.excinfo is not None and self.memory and is_out_of_memory(call.excinfo.value):
            self._give_back(item)
        self.broken = self.broken or context_is_broken()
        if call.when == "setup":
            item.stash[_SETUP] = call.duration
        if call.when == "call" or (call.when == "setup" and call.excinfo is not None):
            verdict = item.stash.get(SKIPPED, None) or self.verdict(item, call, report)
            seconds = round(item.stash[_SETUP] + (call.duration if call.when == "call" else 0), 3)
            metrics = {**verdict.metrics, **(_peak_memory() if self.memory else {})}
            verdict = replace(
                verdict, lane=self.settings.lane, seconds=seconds, metrics=metrics, reproduce=self.reproduce(item)
            )
            report.user_properties.append((PROPERTY, verdict.to_json()))
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run the item once the GPU has memory for it. End this process once its GPU context is broken, or where an
        error would end its session: the reports are sent, a fresh worker takes the rest."""
        try:
            if self.memory:
                with self.memory.reserve(self._memory_fraction(item)):
                    answer = yield
                    if not self.broken:  # a broken context refuses this too, and the worker ends below
                        _free_cached_memory()
            else:
                answer = yield
        except Exception as error:
            self._report(item, error)
            os._exit(1)  # xdist replaces a worker that dies; one that ends its session early ends the whole run
        if self.observing:
            self.observing.unlink(missing_ok=True)
            self.observing = None
        if self.broken:
            os._exit(1)
        return answer

    def _report(self, item: pytest.Item, error: Exception) -> None:
        """Send ``error``, which was raised around the item and not in it, as the item's own."""

        def fail() -> None:
            raise error

        call = pytest.CallInfo.from_call(fail, "setup")
        item.ihook.pytest_runtest_logreport(report=item.ihook.pytest_runtest_makereport(item=item, call=call))

    def verdict(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Verdict:
        """What the item's call, or its setup where that failed, says."""
        raise NotImplementedError

    def reproduce(self, item: pytest.Item) -> str:
        """The command that runs just this item."""
        raise NotImplementedError

    def _memory_fraction(self, item: pytest.Item) -> float:
        """Of the GPU's memory: what the item's mark ``gpu_memory(function)`` gives in bytes; all where its mark is
        ``exclusive_gpu``, or where it was given back."""
        if item.get_closest_marker("exclusive_gpu") or item.nodeid in lines(self.given_back):
            return ALL
        mark = item.get_closest_marker("gpu_memory")
        if mark is None:
            return 0.0
        import torch

        return mark.args[0]() / torch.cuda.get_device_properties(0).total_memory

    def _give_back(self, item: pytest.Item) -> None:
        """End this process, and with it what it holds on the GPU; the item runs again, alone, in a fresh worker.

        Returns where it was alone already: then there is no more memory to be had.
        """
        if item.nodeid in lines(self.given_back):
            return
        with self.given_back.open("a") as file:
            file.write(f"{item.nodeid}\n")
        os._exit(1)

    def keep_traceback(self, item: pytest.Item, error: BaseException) -> str:
        """Write the traceback to a file of the run and return its path."""
        words = re.sub(r"[^-.A-Za-z0-9]+", "_", "-".join(self.name(item.nodeid)))
        file = Path(self.settings.out) / "errors" / f"{words[:150]}.txt"
        write_atomically(file, "".join(traceback.format_exception(error)))
        return str(file)


_SETUP = pytest.StashKey[float]()


def _end_of(node: Any) -> signal.Signals | None:
    """The signal that ended the process of a worker, where one did."""
    process: Any = getattr(getattr(node.gateway, "_io", None), "popen", None)  # execnet has no public way to it
    with suppress(AttributeError, OSError, ValueError, TimeoutExpired):
        code = process.wait(GRACE_S)
        return signal.Signals(-code) if code < 0 else None
    return None


def _cuda() -> Any:
    """``torch.cuda`` where this process uses a GPU, else None."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _free_cached_memory() -> None:
    """Give the memory of an item that has ended to the other workers on this GPU."""
    if cuda := _cuda():
        cuda.empty_cache()
        cuda.reset_peak_memory_stats()


def _peak_memory() -> dict[str, int]:
    return {"gpu_memory_mib": cuda.max_memory_allocated() >> 20} if (cuda := _cuda()) else {}


class SuiteWorker(Worker):
    """Runs the items of the suite: what each returns is its Verdict; an exception becomes an error."""

    later = TIMED

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """With ``--op``, keep what is about these ops alone."""
        if self.settings.ops:
            wanted = (*self.settings.ops, ALL_OPS)
            items[:] = [item for item in items if name(item.nodeid)[1].split("[")[0] in wanted]

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        """Call the item and take what it returns as its verdict."""
        arguments = {key: pyfuncitem.funcargs[key] for key in pyfuncitem._fixtureinfo.argnames}
        verdict = pyfuncitem.obj(**arguments)
        if (verdict.gate, verdict.subject) != name(pyfuncitem.nodeid):
            raise TypeError(f"{pyfuncitem.nodeid} returned the verdict {verdict.id}")
        pyfuncitem.stash[VERDICT] = verdict
        if verdict.status == Status.SKIPPED:
            pytest.skip(verdict.message)
        if verdict.status != Status.PASS:
            pytest.fail(verdict.message, pytrace=False)
        return True

    def verdict(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Verdict:
        """What the item returned; an error where it raised."""
        if verdict := item.stash.get(VERDICT, None):
            return verdict
        assert call.excinfo is not None
        error = call.excinfo.value
        first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        said = first if isinstance(error, UserError) else f"{type(error).__name__}: {first}".rstrip(": ")
        broken = " The GPU context broke, so the worker was replaced." if self.broken else ""
        metrics = {"traceback": self.keep_traceback(item, error)}
        return Verdict(*name(item.nodeid), Status.ERROR, f"{said}.{broken}", metrics=metrics)

    def reproduce(self, item: pytest.Item) -> str:
        """The gate's command for this subject."""
        gate, subject = name(item.nodeid)
        if gate == "accuracy":
            return self.settings.command("--op", subject.split("[")[0], "-k", subject.removesuffix("[large]"))
        words = re.findall(r"[\w.]+", subject.split(": ")[-1])
        return self.settings.command("-k", " and ".join((gate, *words)))


class Controller:
    """Hands out GPUs and work, collects the verdicts, and writes ``run.json``."""

    name = staticmethod(name)

    def __init__(self, settings: Settings, workers: int = 1) -> None:
        self.settings = settings
        self.workers_on_gpu = math.ceil(workers / len(settings.gpus)) if settings.gpus else 0
        self.free = list(itertools.islice(itertools.cycle(settings.gpus), workers))
        self.expected: dict[str, None] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.running: dict[str, float] = {}  # since when, in seconds since 1970
        self.end: signal.Signals | None = None  # what ended the worker that died last

    def pytest_configure_node(self, node: Any) -> None:
        """Give a starting worker its GPU; xdist gives a replaced worker a new id, so ids cannot."""
        if self.settings.gpus:
            node.workerinput |= {"gpu": self.free.pop(0), "workers_on_gpu": self.workers_on_gpu}

    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take the GPU back from a worker that ended or died; stop where it could not even collect its items."""
        if self.settings.gpus:
            self.free.append(node.workerinput["gpu"])
        self.end = _end_of(node) if error else None
        if error and not self.expected:  # its replacement would end the same way
            write_atomically(Path(self.settings.out) / DIED_COLLECTING, str(error))
            # No more replacements; ``shouldstop`` would start all of them first.
            node.config.pluginmanager.getplugin("dsession")._max_worker_restart = 0

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Scheduler:
        """Work goes out in the order of collection, one unit a case or a group."""
        return Scheduler(config, log, self.scope, Path(self.settings.out) / GIVEN_BACK)

    def scope(self, nodeid: str) -> str:
        """The unit of work that an item belongs to."""
        return unit_of(*self.name(nodeid))

    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        """What the workers collected is what the run must hold in the end."""
        self.expected |= dict.fromkeys(self._id(*self.name(nodeid)) for nodeid in ids)
        self._tell()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Show what is running."""
        self.running[self._id(*self.name(nodeid))] = time.time()
        self._tell()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the verdict off the report; a report of a dead worker has none and becomes an error."""
        gate, subject = self.name(report.nodeid)
        for key, value in report.user_properties:
            if key == PROPERTY:
                self.take(Verdict.from_json(str(value)))
        if report.failed and self._id(gate, subject) not in self.verdicts:
            how = f" ({self.end.name})" if self.end else ""
            message = f"The worker process died{how} while running this check; see pytest.log."
            status = Status.FAIL if self.end in OWN_FAULTS else Status.ERROR
            self.take(Verdict(gate, subject, status, message, lane=self.settings.lane))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file of the suite that cannot be collected is an error of its own."""
        if report.failed:
            last = str(report.longrepr).strip().splitlines()[-1].removeprefix("E").strip()
            message = f"The suite could not be collected: {last}"
            self.take(Verdict("suite", report.nodeid or "suite", Status.ERROR, message, lane=self.settings.lane))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write what was evaluated, complete or not."""
        file = Path(self.settings.out) / SUITE
        about = {"suite": json.loads(file.read_text(encoding="utf-8"))} if file.exists() else {}
        if exitstatus == pytest.ExitCode.INTERRUPTED:
            about["interrupted"] = True
        run = Run(about, tuple(self.expected), tuple(self.verdicts.values()))
        write_atomically(Path(self.settings.out) / "run.json", run.to_json())

    def _id(self, gate: str, subject: str) -> str:
        return f"{self.settings.lane}/{gate}/{subject}"

    def take(self, verdict: Verdict) -> None:
        """Keep a verdict, in place of an earlier one of its id."""
        self.verdicts[verdict.id] = verdict
        self.running.pop(verdict.id, None)
        self._tell()

    def _tell(self) -> None:
        done = {verdict.id: verdict.seconds for verdict in self.verdicts.values()}
        bad = [verdict for verdict in self.verdicts.values() if verdict.status not in (Status.PASS, Status.SKIPPED)]
        news = {verdict.id: f"{verdict.status}: {verdict.message}" for verdict in bad[:MAX_NEWS]}
        body = {"expected": list(self.expected), "done": done, "running": self.running, "bad": news}
        write_atomically(Path(self.settings.out) / PROGRESS, json.dumps(body))
