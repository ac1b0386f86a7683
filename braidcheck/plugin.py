"""The pytest plugin of a gate run: items return verdicts, workers send them, the controller collects the Run."""

from __future__ import annotations

import faulthandler
import os
import re
import traceback
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from braidcheck import kernels
from braidcheck.errors import UserError
from braidcheck.gates import GATES
from braidcheck.gates.gate import ALL_OPS
from braidcheck.gates.under_test import use_package
from braidcheck.gpu_memory import GpuMemory, context_is_broken, free_cached_memory, is_out_of_memory, peak_memory
from braidcheck.isolation import privacy
from braidcheck.result import Status, Verdict, write_atomically
from braidcheck.schedule import crashes
from braidcheck.schedule.controller import GIVEN_BACK, PROPERTY, Controller, name
from braidcheck.schedule.estimate import OBSERVING, unit_of
from braidcheck.schedule.imports import COLLECT_S
from braidcheck.schedule.selection import SKIPPED, Selection
from braidcheck.schedule.workers import lines
from braidcheck.settings import Settings

SETTINGS = pytest.StashKey[Settings]()
VERDICT = pytest.StashKey[Verdict]()
TIMED = tuple(gate.name for gate in GATES.values() if gate.timed)
ALL = 1.0  # fraction of a GPU's memory


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--braidcheck", metavar="JSON", help="the settings of the gate run (braidcheck.settings.Settings)")


def pytest_configure(config: pytest.Config) -> None:
    start(config, SuiteWorker, Controller)


def start(config: pytest.Config, worker: type[Worker], controller: type[Controller]) -> None:
    """Make this process the run's controller, or one of its workers with the GPU that the controller gave it."""
    text = config.getoption("--braidcheck")
    if text is None:
        raise pytest.UsageError("this suite is run by: braidcheck gate")
    settings = config.stash[SETTINGS] = Settings.from_json(text)
    workerinput = getattr(config, "workerinput", None)
    if workerinput is None:
        crashes.end_with_gate(config)
        config.pluginmanager.register(controller(settings, config.getoption("numprocesses", 1)))
        return
    privacy.end_with_parent()
    faulthandler.dump_traceback_later(COLLECT_S, exit=True)  # until the items are collected
    kernels.leave_out(dict(settings.broken))
    memory = None
    if "gpu" in workerinput:
        os.environ["CUDA_VISIBLE_DEVICES"] = workerinput["gpu"]
        memory = GpuMemory(Path(settings.out) / f"gpu-{workerinput['gpu']}", workerinput["workers_on_gpu"])
    if settings.kernels:
        use_package(Path(settings.kernels))
    config.pluginmanager.register(worker(settings, memory), "braidcheck-worker")
    config.pluginmanager.register(Selection(settings, worker.name, unit_of, TIMED, worker.later))


@pytest.fixture(scope="session")
def settings(pytestconfig: pytest.Config) -> Settings:
    """The settings of this run."""
    return pytestconfig.stash[SETTINGS]


@pytest.fixture(scope="session")
def progress(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """``progress(text)`` shows the progress of a long measurement in this worker."""
    return pytestconfig.pluginmanager.getplugin("braidcheck-worker").say


class Worker:
    """Runs the items: each gives a Verdict, which travels on the report. Shares its GPU's memory with other workers."""

    name = staticmethod(name)
    later: tuple[str, ...] = ()  # gates of a later phase, which the balance of shards includes

    def __init__(self, settings: Settings, memory: GpuMemory | None = None) -> None:
        self.settings = settings
        self.memory = memory
        self.given_back = Path(settings.out) / GIVEN_BACK
        self.broken = False
        self.observing: Path | None = None

    def pytest_collection_finish(self) -> None:
        """From here on the items' own time limits apply."""
        faulthandler.cancel_dump_traceback_later()

    def say(self, text: str) -> None:
        """Show the progress of this worker's measurement until its item ends."""
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
            metrics = {**verdict.metrics, **(peak_memory() if self.memory else {})}
            verdict = replace(
                verdict, lane=self.settings.lane, seconds=seconds, metrics=metrics, reproduce=self.reproduce(item)
            )
            report.user_properties.append((PROPERTY, verdict.to_json()))
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run the item once the GPU has memory for it. End this process after its GPU context broke, or if an error
        would end its session: the reports are sent, and a fresh worker takes the rest."""
        try:
            if self.memory:
                with self.memory.reserve(self._memory_fraction(item)):
                    answer = yield
                    if not self.broken:  # a broken context fails here too, and the worker ends below
                        free_cached_memory()
            else:
                answer = yield
        except Exception as error:  # of a hook or of the reservation: what a test raises is caught before
            self._report(item, error)
            os._exit(1)  # xdist replaces a worker that dies; one that ends its session early would end the run
        if self.observing:
            self.observing.unlink(missing_ok=True)
            self.observing = None
        if self.broken:
            os._exit(1)
        return answer

    def _report(self, item: pytest.Item, error: Exception) -> None:
        """Report ``error``, raised outside of the item, as the item's result."""

        def fail() -> None:
            raise error

        call = pytest.CallInfo.from_call(fail, "setup")
        item.ihook.pytest_runtest_logreport(report=item.ihook.pytest_runtest_makereport(item=item, call=call))

    def verdict(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Verdict:
        """The verdict of the item's call, or of its failed setup."""
        raise NotImplementedError

    def reproduce(self, item: pytest.Item) -> str:
        """The command that runs just this item."""
        raise NotImplementedError

    def _memory_fraction(self, item: pytest.Item) -> float:
        """The item's fraction of the GPU's memory: from the bytes of its mark ``gpu_memory(function)``; all of it if it
        is marked ``exclusive_gpu`` or was given back."""
        if item.get_closest_marker("exclusive_gpu") or item.nodeid in lines(self.given_back):
            return ALL
        mark = item.get_closest_marker("gpu_memory")
        if mark is None:
            return 0.0
        import torch

        return mark.args[0]() / torch.cuda.get_device_properties(0).total_memory

    def _give_back(self, item: pytest.Item) -> None:
        """End this process and free its GPU memory; the item runs again, alone, in a fresh worker. Returns if it was
        alone already: then there is no more memory.
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


class SuiteWorker(Worker):
    """Runs the items of the suite: each returns its Verdict; an exception becomes an error."""

    later = TIMED

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """With ``--op``, keep only items of these ops."""
        if self.settings.ops:
            subjects = (*self.settings.ops, ALL_OPS)
            items[:] = [item for item in items if name(item.nodeid)[1].split("[")[0] in subjects]

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
        """The item's Verdict; an error if it raised."""
        if verdict := item.stash.get(VERDICT, None):
            return verdict
        assert call.excinfo is not None
        error = call.excinfo.value
        first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        message = first if isinstance(error, UserError) else f"{type(error).__name__}: {first}".rstrip(": ")
        broken = " The GPU context broke, so the worker was replaced." if self.broken else ""
        metrics = {"traceback": self.keep_traceback(item, error)}
        return Verdict(*name(item.nodeid), Status.ERROR, f"{message}.{broken}", metrics=metrics)

    def reproduce(self, item: pytest.Item) -> str:
        """The gate's command for this subject."""
        gate, subject = name(item.nodeid)
        if gate == "accuracy":
            return self.settings.command("--op", subject.split("[")[0], "-k", subject.removesuffix("[large]"))
        words = re.findall(r"[\w.]+", subject.split(": ")[-1])
        return self.settings.command("-k", " and ".join((gate, *words)))
