"""Gate runs over suites of fakes, through the command line."""

import json
import os
import shutil
import tempfile
import textwrap
from types import SimpleNamespace

import pytest

from braidcheck import environment
from braidcheck.cli import main, phases, pytest_runner
from braidcheck.gates import GATES
from braidcheck.report import progress
from braidcheck.result import Run

HEAD = """
import os, time
from pathlib import Path
import pytest
from braidcheck.result import Status, Verdict

"""
NAMES = ("coherence", "layers", "accuracy", "vacuity", "targets", "speed")


@pytest.fixture(autouse=True)
def same_environment(monkeypatch):
    """The command line may set the interpreter's switch in its process; here many share one."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


@pytest.fixture(autouse=True)
def no_progress_lines(monkeypatch):
    """On a loaded machine a command of a second takes as long as the lines that tell how far it is wait."""
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 1e6)
    monkeypatch.setattr(progress, "NEWS_SECONDS", 1e6)


@pytest.fixture(scope="module")
def answers():
    """Answers of cases are kept for all functions of a module, as ``check`` keeps them for one."""
    from braidcheck.gates.accuracy.measure import answers_kept  # with torch

    with answers_kept():
        yield


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(environment, "gpus", tuple)


@pytest.fixture
def suite(tmp_path, monkeypatch, no_gpu):
    """Makes a suite whose every gate of NAMES has one passing item, except for the sources given by gate.

    In a source ``test_it`` is the gate's test.
    """
    folder = tmp_path / "suite"
    folder.mkdir()
    shutil.copy(pytest_runner.SUITE / "pytest.ini", folder)
    monkeypatch.setattr(pytest_runner, "SUITE", folder)
    monkeypatch.setattr(phases, "GATES", {name: GATES[name] for name in NAMES})
    monkeypatch.setattr(phases, "MAX_CPU_WORKERS", 1)  # a worker starts for longer than all fakes run
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where runs claim GPUs, and fake ones share their names
    monkeypatch.chdir(tmp_path)

    def make(**sources):
        text = HEAD
        for name in NAMES:
            default = f"""
                @pytest.mark.parametrize("what", ["thing"])
                def test_it(what):
                    return Verdict("{name}", what, Status.PASS, "fine")
            """
            text += textwrap.dedent(sources.get(name, default)).replace("def test_it(", f"def test_{name}(")
        (folder / pytest_runner.ITEMS).write_text(text)

    make()
    return make


@pytest.fixture
def run(capfd):
    """Runs the command line: exit code, stdout, stderr."""

    def go(*words):
        code = main([str(word) for word in words])
        captured = capfd.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return go


@pytest.fixture
def refused(run):
    """Runs the command line and wants a refusal: one line that says what to do, and no traceback."""

    def go(code, text, *words):
        completed = run(*words)
        assert (completed.code, completed.out) == (code, "")
        assert completed.err.count("\n") == 1, completed.err
        assert completed.err.startswith("braidcheck: ")
        assert text in completed.err

    return go


@pytest.fixture
def result(tmp_path):
    """Reads what a gate run wrote: the Run, its JSON and the JUnit text."""

    def read(out="braidcheck-out"):
        folder = tmp_path / out
        text = (folder / "run.json").read_text()
        return Run.from_json(text), json.loads(text), (folder / "junit.xml").read_text()

    return read
