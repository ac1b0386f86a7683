"""The pytest plugin that runs a project's own GPU tests as a phase of the gate: one verdict of ``tests`` each."""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path

import pytest

from braidcheck import plugin
from braidcheck.plugin import pytest_addoption as pytest_addoption  # the option that carries the settings
from braidcheck.result import Status, Verdict
from braidcheck.schedule import controller

GATE = "tests"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "exclusive_gpu: has its GPU to itself, because it times something")
    plugin.start(config, Worker, Controller)


def marks_gpu(path: Path) -> bool:
    """Whether a test file, or a conftest.py above it, can mark tests with ``gpu``."""
    return any(map(_says_so, (path, *(folder / "conftest.py" for folder in path.parents))))


@cache  # a conftest.py applies to many files
def _says_so(file: Path) -> bool:
    return file.exists() and "mark.gpu" in file.read_text(encoding="utf-8", errors="replace")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Import only test files that may contain a GPU test: every worker would import all of them."""
    is_test = collection_path.suffix == ".py" and collection_path.name != "conftest.py"
    return True if is_test and not marks_gpu(collection_path) else None


def name(nodeid: str) -> tuple[str, str]:
    """Gate and subject of a test."""
    return GATE, nodeid


class Worker(plugin.Worker):
    """Runs the tests; the outcome of each is its verdict."""

    name = staticmethod(name)

    def verdict(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Verdict:
        """Pass, skipped with its reason, or fail with the error's first line."""
        if report.passed:
            return Verdict(GATE, item.nodeid, Status.PASS, "passed")
        assert call.excinfo is not None
        error = call.excinfo.value
        first = (str(error).strip().splitlines() or [""])[0]
        if report.skipped:
            return Verdict(GATE, item.nodeid, Status.SKIPPED, first or "skipped")
        metrics = {"traceback": self.keep_traceback(item, error)}
        return Verdict(GATE, item.nodeid, Status.FAIL, f"{type(error).__name__}: {first}", metrics=metrics)

    def reproduce(self, item: pytest.Item) -> str:
        """The pytest command for this test."""
        return shlex.join(["python3", "-m", "pytest", "-m", "gpu", item.nodeid])


class Controller(controller.Controller):
    """Collects the verdicts; each test is a unit of work."""

    name = staticmethod(name)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that passes but fails in teardown is an error."""
        super().pytest_runtest_logreport(report)
        if report.failed and report.when == "teardown":
            errors = [line[1:].strip() for line in str(report.longrepr).splitlines() if line.startswith("E ")]
            message = f"teardown failed: {errors[0] if errors else 'see pytest.log'}"
            self.take(Verdict(GATE, report.nodeid, Status.ERROR, message, lane=self.settings.lane))
