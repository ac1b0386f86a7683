"""``braidcheck mutants --source FILE --test COMMAND`` and the page of what it saved; the run itself is replaced."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import braidcheck
from braidcheck.cli import INTERRUPTED
from braidcheck.mutants.project.run import NO_COVERAGE, SURVIVED, ProjectRun
from braidcheck.mutants.project.trials import Ended

KERNEL = "import triton\n\n@triton.jit\ndef half(x, n):\n    return x / 2 if n < 1 else x\n"


@pytest.fixture
def source(tmp_path, monkeypatch, no_gpu):
    """A project's kernel file, of whose mutants the first has no coverage and the others survive."""
    (tmp_path / "setup.py").write_text("")
    (tmp_path / "kernel.py").write_text(KERNEL)

    def run(self):
        for number, mutant in enumerate(self.chosen):
            outcome = SURVIVED if number else NO_COVERAGE
            self._take(mutant, outcome, Ended(0, 0.0, ""))

    monkeypatch.setattr(ProjectRun, "run", run)
    return tmp_path / "kernel.py"


def test_survivors_are_printed_saved_and_made_a_page(run, source, tmp_path):
    saved, page = tmp_path / "mutants.json", tmp_path / "mutants.html"
    completed = run("mutants", "--source", source, "--test", "true", "--lane", "interpret", "--save", saved)
    assert completed.code == 0
    assert "survived kernel.py:5 kernel.half." in completed.out
    assert "'true' caught 0 of " in completed.out
    assert "none sought" in completed.out
    assert json.loads(saved.read_text())["schema"] == "project mutants 1"
    assert run("report", saved, "-o", page).code == 0
    assert "return x / 2 if n &lt;= 1 else x" in page.read_text()
    assert run("report", saved, "-o", tmp_path / "mutants.md").code == 2


@pytest.mark.usefixtures("fresh_python")
@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT]], ids=["SIGTERM", "twice SIGINT"])
def test_an_interrupted_run_leaves_no_copies_and_no_processes(signals, tmp_path):
    folder, project = tmp_path / "tmp", tmp_path / "project"
    folder.mkdir()
    project.mkdir()
    (project / "setup.py").write_text("")
    (project / "kernel.py").write_text(KERNEL)
    started = folder / "started"
    command = f"echo $$ > {started}; exec sleep 600"
    words = ["mutants", "--source", "kernel.py", "--lane", "interpret", "--jobs", "1", "--test", command]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(Path(braidcheck.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-m", "braidcheck", *words], cwd=project, env=environment)
    while not (started.exists() and started.read_text().strip()):
        assert process.poll() is None
        time.sleep(0.05)
    assert list(folder.glob("braidcheck-mutants-*"))
    for number in signals:
        process.send_signal(number)
    assert process.wait() == INTERRUPTED
    assert not list(folder.glob("braidcheck-mutants-*"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_a_sample_is_drawn(run, source):
    words = ["mutants", "--source", source, "--test", "true", "--limit", "2", "--seed", "3", "--json"]
    result = json.loads(run(*words).out)
    assert len(result["mutants"]) == 2 < result["generated"]
    assert result["seed"] == 3


def test_calls_that_make_no_sense_are_refused(refused, source):
    refused(2, "--source FILE and --test COMMAND belong together", "mutants", "--source", source)
    refused(2, "--source FILE and --test COMMAND belong together", "mutants", "--test", "true")
    refused(2, "--source FILE and --test COMMAND belong together", "mutants", "--limit", "3")
    refused(2, "no such file", "mutants", "--source", source.parent / "nope.py", "--test", "true")
    refused(2, "--source combines only with", "mutants", "--source", source, "--test", "true", "--named")
    refused(3, "--lane gpu cannot run here", "mutants", "--source", source, "--test", "true", "--lane", "gpu")
