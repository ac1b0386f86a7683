"""A run of mutants against a project's own tests. Its tests are a program without torch, so that a trial is short."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from braidcheck.cli import project_mutants
from braidcheck.errors import UserError
from braidcheck.mutants.project.run import ProjectRequest, ProjectRun
from braidcheck.report import project_mutants as report
from tests.forked.installed import REAL

KERNEL = """
import triton

@triton.jit
def scale(x):
    return x * 2

@triton.jit
def spin(n):
    total = 0
    while n > 0:
        n -= 1
        total += 1
    return total

@triton.jit
def unused(x):
    return x + 1
"""
# Whatever Triton does with its functions: here they are Python's, in an interpreter that has not imported Triton.
TRITON = "def jit(function):\n    return function\n"
TEST = """
import sys
from lib.kernel import scale, spin
assert scale(3) == 6
assert spin(2) >= 1
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = tmp_path / "project"
    (root / "lib").mkdir(parents=True)
    for name, text in {"lib/kernel.py": KERNEL, "triton.py": TRITON, "check.py": TEST, "setup.py": ""}.items():
        (root / name).write_text(text)
    monkeypatch.chdir(root)
    return root


def run(project, command=f"{REAL} check.py", **more):
    asked = ProjectRequest([project / "lib" / "kernel.py"], command, "interpret", 2, **more)
    return ProjectRun(asked)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("braidcheck.mutants.project.run.MIN_LIMIT_S", 1)


def test_mutants_are_killed_or_survive_and_the_project_is_left_alone(project, quick):
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(project.rglob("*")) if path.is_file()
    }
    result = run(project).run()
    rows = {row["id"]: row for row in result["mutants"]}
    assert rows["kernel.scale.arithmetic.1"]["outcome"] == "killed"
    assert rows["kernel.scale.arithmetic.1"]["said"] == "AssertionError"
    assert rows["kernel.spin.delete.1"]["outcome"] == "timeout"  # n is never less
    assert rows["kernel.spin.boundary.1"]["outcome"] == "survived"
    assert {row["outcome"] for row in result["mutants"] if row["function"] == "unused"} == {"no coverage"}
    assert result["missing"] == 0
    after = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(project.rglob("*")) if path.is_file()
    }
    assert after == before
    assert report.summary(result).startswith(f"{result['test']!r} caught ")
    page = report.render(json.loads(json.dumps(result)))
    assert "while n &gt;= 0" in page


def test_a_seed_draws_the_same_mutants(project):
    drawn = [[mutant.id for mutant in run(project, seed=seed, limit=5).chosen] for seed in (1, 1, 2)]
    assert len(drawn[0]) == 5
    assert drawn[0] == drawn[1] != drawn[2]


def test_tests_that_fail_without_a_mutant_are_refused(project):
    with pytest.raises(UserError, match="--test fails without a mutant, exit code 3"):
        run(project, "exit 3").run()


def test_tests_that_import_another_copy_are_refused(project):
    command = f"{REAL} {project / 'check.py'}"  # Python imports from the folder of the script first
    with pytest.raises(UserError, match=r"does not import lib/kernel\.py from its copy"):
        run(project, command).run()


def test_a_file_without_kernels_is_refused(project):
    (project / "lib" / "kernel.py").write_text("x = 1\n")
    with pytest.raises(UserError, match=r"no function in lib/kernel\.py is decorated"):
        run(project)


def has_ended(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_an_interrupt_ends_the_command_and_leaves_nothing(project, tmp_path):
    started, folder = tmp_path / "started", tmp_path / "tmp"
    folder.mkdir()
    (project / "slow.py").write_text(
        f"import os, pathlib, time\npathlib.Path({str(started)!r}).write_text(str(os.getpid()))\ntime.sleep(600)\n"
    )
    words = ["mutants", "--source", "lib/kernel.py", "--test", f"{REAL} slow.py", "--jobs", "1"]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    del environment["TRITON_INTERPRET"]
    program = subprocess.Popen(
        [sys.executable, "-m", "braidcheck", *words], cwd=project, env=environment | {"PYTHONSAFEPATH": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    while not (started.exists() and started.read_text()):
        assert program.poll() is None
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    assert program.wait() == 130
    for _ in range(600):  # the kernel may take its time
        if has_ended(started.read_text()):
            break
        time.sleep(0.05)
    assert has_ended(started.read_text())
    assert not list(folder.iterdir())
    assert (project / "lib" / "kernel.py").read_text() == KERNEL


def test_what_is_saved_is_read_again(project):
    result = run(project, limit=1).result()
    assert project_mutants.load(project_mutants.dump(result)) == result
