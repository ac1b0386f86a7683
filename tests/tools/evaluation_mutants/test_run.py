"""A trial of a mutant: the tests that call the function are run in a child, and what they say becomes an outcome."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from braidcheck.mutants.mutant import Mutant
from tools.evaluation_mutants import fork_server, project_tests, run

SOURCE = "def check(value):\n    return value <= 1\n\n\ndef other():\n    return 2\n"
TESTS = """
from package.check import check, other

def test_slow_other():
    assert other() == 2

def test_limit():
    assert check(1)
    if not check(0):
        while True:
            pass
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "check.py").write_text(SOURCE)
    (tmp_path / "test_check.py").write_text(TESTS)
    return tmp_path


def ask(root, **more):
    """What the server answers to one task, with nothing imported beforehand."""
    task = {"root": str(root), "package": "package", "files": ["test_check.py"], "ids": [], "record": False}
    line = json.dumps(task | {"limit": 60.0} | more)
    server = [sys.executable, "-P", fork_server.__file__]
    done = subprocess.run(server, input=f"{line}\n", capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_calls_are_recorded_by_test(root):
    said = ask(root, record=True)
    assert (said["code"], said["failed"]) == (0, [])
    assert said["called"]["test_check.py::test_limit"] == ["check.py:check"]
    assert said["called"]["test_check.py::test_slow_other"] == ["check.py:other"]
    assert set(said["seconds"]) == {"test_check.py::test_limit", "test_check.py::test_slow_other"}


def test_the_tests_asked_for_run_on_the_copy_and_the_first_failure_is_said(root):
    (root / "package" / "check.py").write_text(SOURCE.replace("<=", "<"))
    said = ask(root, ids=["test_check.py::test_limit"])
    assert (said["code"], said["failed"]) == (1, ["test_check.py::test_limit"])
    assert ask(root, ids=["test_check.py::test_slow_other"])["code"] == 0


def test_a_file_that_cannot_be_imported_fails(root):
    (root / "package" / "check.py").write_text("import nothing_of_this_name\n")
    said = ask(root)
    assert said["code"] not in (0, None)
    assert said["failed"] == ["test_check.py"]


def test_a_trial_ends_at_its_limit(root):
    (root / "package" / "check.py").write_text(SOURCE.replace("value <= 1", "value == 1"))
    said = ask(root, limit=3.0)
    assert said["code"] in (-signal.SIGXCPU, -signal.SIGKILL)


def test_a_mutant_stands_in_the_copy_during_its_trial_alone(root):
    path = root / "package" / "check.py"
    before = path.stat().st_mtime_ns
    with run._mutated(path, "x = 1\n"):
        assert path.read_text() == "x = 1\n"
    assert (path.read_text(), path.stat().st_mtime_ns) == (SOURCE, before)


def test_tests_that_call_the_function_come_quickest_first(monkeypatch):
    name = "tests/test_result.py"
    seconds = {f"{name}::slow": 2.0, f"{name}::quick": 0.1, f"{name}::far": 0.1, f"{name}::endless": 99.0}
    called = {f"{name}::{test}": ["result.py:Run.status"] for test in ("slow", "quick", "endless")}
    controls = {name: {"sha256": "", "seconds": seconds, "called": called, "failed": []}}
    monkeypatch.setattr(project_tests, "changed_function", lambda _mutant: "Run.status")
    mutant = Mutant("m", "named", "result", "d", "result.py", (), "")
    assert project_tests.tests_for(mutant, controls) == [f"{name}::quick", f"{name}::slow"]
    controls[name]["failed"] = [f"{name}::quick"]
    assert project_tests.tests_for(mutant, controls) == [f"{name}::slow"]
    monkeypatch.setattr(project_tests, "changed_function", lambda _mutant: "Run.nobody")
    assert project_tests.tests_for(mutant, controls) == [f"{name}::far", f"{name}::slow"]


def test_a_trial_runs_the_quickest_tests_and_no_more_than_it_has_time_for(monkeypatch):
    names = ["tests/test_result.py", "tests/report/test_rows.py"]
    controls = {
        name: {"sha256": "", "seconds": {f"{name}::a": 5.0, f"{name}::b": 5.5}, "called": {}, "failed": []}
        for name in names
    }
    monkeypatch.setattr(project_tests, "files_for", lambda _file: names)
    monkeypatch.setattr(project_tests, "changed_function", lambda _mutant: "")
    mutant = Mutant("m", "named", "result", "d", "result.py", (), "")
    assert project_tests.tests_for(mutant, controls) == [f"{names[1]}::a", f"{names[0]}::a"]


@pytest.mark.parametrize(
    ("file", "mirror"),
    [
        ("result.py", "tests/test_result.py"),
        ("gates/static.py", "tests/gates/test_static.py"),
        ("gates/layers/__init__.py", "tests/gates/layers/test_evaluate.py"),
        ("ci/trend/series.py", "tests/ci/trend/test_evaluate.py"),
        ("golden/store.py", "tests/golden/test_store.py"),
    ],
)
def test_a_module_s_mirror_comes_first(file, mirror):
    found = project_tests.files_for(file)
    assert found[0] == mirror
    assert all(Path(project_tests.ROOT, name).is_file() for name in found)


def test_the_table_counts_what_is_not_argued():
    rows = [
        {"part": "a", "outcome": "killed"},
        {"part": "a", "outcome": "survived"},
        {"part": "b", "outcome": "survived", "equivalent": "why"},
        {"part": "b", "outcome": "timeout"},
    ]
    assert [line.split() for line in run.table(rows)] == [
        ["a", "1", "of", "2", "50.0%"],
        ["b", "0", "of", "1", "0.0%"],
        ["all", "1", "of", "3", "33.3%"],
    ]
