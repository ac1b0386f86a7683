"""A process that imports what is slow to import once, and forks a child for each run of pytest.

Tasks come on standard input and answers leave on standard output, a line of JSON each. It imports nothing of the
package under test, so each child imports the copy that stands in its ``root``.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

import pytest

MAX_LOAD = 20  # times the CPU time, that a trial may take of the clock on a machine that others use


class Task(TypedDict):
    """One run: the folder it runs in, test files, the ids to run in their order (all where empty), the limit in
    seconds of CPU time, and whether to record what each test calls of the package instead of stopping at a failure."""

    root: str
    package: str
    files: Sequence[str]
    ids: Sequence[str]
    limit: float
    record: bool


class Watcher:
    """Chooses and orders the tests; keeps the first failure, each test's seconds and the functions it called.

    A function that was called while a fixture was made is known for all tests of the file: they share fixtures.
    """

    def __init__(self, task: Task) -> None:
        self.place = {name: number for number, name in enumerate(task["ids"])}
        self.record = task["record"]
        self.inside = str(Path(task["root"], task["package"]).resolve()) + os.sep
        self.failed: list[str] = []
        self.seconds: dict[str, float] = {}
        self.called: dict[str, set[str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep what was asked for, in that order."""
        if self.place:
            items[:] = [item for item in items if item.nodeid in self.place]
            items.sort(key=lambda item: self.place[item.nodeid])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported has failed."""
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what failed."""
        if report.failed:
            self.failed.append(report.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Keep how much CPU time a test takes: of the clock, a loaded machine takes many times as much."""
        began = _cpu_seconds()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = round(_cpu_seconds() - began, 3)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Record what fixtures call."""
        return (yield from self._recorded(item.nodeid.split("::")[0]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Record what the test calls."""
        return (yield from self._recorded(item.nodeid))

    def _recorded(self, name: str) -> Generator[None, Any, Any]:
        if not self.record:
            return (yield)
        callers = self.called.setdefault(name, set())
        seen: set[Any] = set()

        def profile(frame: Any, event: str, _argument: Any) -> None:
            code = frame.f_code
            if event == "call" and code not in seen:
                seen.add(code)
                if code.co_filename.startswith(self.inside):
                    file = code.co_filename.removeprefix(self.inside)
                    callers.add(f"{file}:{code.co_qualname.replace('.<locals>', '')}")

        sys.setprofile(profile)
        try:
            return (yield)
        finally:
            sys.setprofile(None)


def _cpu_seconds() -> float:
    """Of this process and of the children it has waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def answer(task: Task) -> dict[str, Any]:
    """Run a task in a child: ``code`` is pytest's, less a signal's number where one ended it, or None where it slept or
    waited for too long."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _guarded(lambda: _child(task, Path(file.name)))
        code = _wait(child, began + MAX_LOAD * task["limit"])
        text = file.read()
    reply = json.loads(text) if text else {"failed": ["died"] if code else []}
    return reply | {"code": code, "wall": round(time.monotonic() - began, 2)}


def _guarded(work: Callable[[], int]) -> None:
    """Run ``work`` and end this process, whatever happens: a child never returns into the server's loop."""
    code = 70
    try:
        code = work()
    finally:
        os._exit(code)


def _wait(child: int, until: float) -> int | None:
    def stop(*_: object) -> None:
        _end_group(child)
        os._exit(1)

    signal.signal(signal.SIGTERM, stop)
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            _end_group(child)
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    _end_group(child)
    os.waitpid(child, 0)
    return None


def _end_group(child: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


def _child(task: Task, out: Path) -> int:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (int(task["limit"]), int(task["limit"]) + 1))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.chdir(task["root"])
    sys.path.insert(0, task["root"])
    os.environ["PYTHONPATH"] = task["root"]
    watcher = Watcher(task)
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:terminalreporter"]
    words += [] if task["record"] else ["-x"]
    code = pytest.main([*words, *task["files"]], plugins=[watcher])
    called = {name: sorted(callers) for name, callers in watcher.called.items()}
    out.write_text(json.dumps({"failed": watcher.failed, "seconds": watcher.seconds, "called": called}))
    return int(code)


def main(modules: Sequence[str]) -> None:
    """Import ``modules``, as far as they are here, and answer tasks until the input ends."""
    for name in modules:
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
