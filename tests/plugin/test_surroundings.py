"""What surrounds a gate run does not change it, nor does the run change that."""

import getpass
import os

import pytest

from braidcheck.cli import pytest_runner as launcher
from tests.plugin.conftest import statuses


def test_nothing_of_the_project_around_is_read(evaluate, tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    for name in ("conftest.py", "json.py", "rich.py", "numpy.py"):
        (project / name).write_text("raise RuntimeError('foreign code ran')")
    (project / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (project / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '--no-such-option'\n")
    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_plugin")
    monkeypatch.setenv("TRITON_INTERPRET", "yes please")
    run = evaluate("""
        @pytest.mark.parametrize("what", ["a"])
        def test_item(what):
            assert os.environ["TRITON_INTERPRET"] == "1"
            return verdict(what)
    """)
    assert statuses(run) == {"a": "pass"}


def test_what_other_pytest_runs_left_is_not_cleaned_up(evaluate, tmp_path, monkeypatch):
    """Folders of 60,000 files kept a gate of 20 checks from ending for minutes."""
    monkeypatch.setenv("PYTEST_DEBUG_TEMPROOT", str(tmp_path))
    left = [tmp_path / f"pytest-of-{getpass.getuser()}" / f"pytest-{number}" for number in range(5)]
    left[0].parent.mkdir(mode=0o700)
    for folder in left:
        folder.mkdir()
    run = evaluate("""
        @pytest.mark.parametrize("what", ["a"])
        def test_item(what):
            return verdict(what)
    """)
    assert statuses(run) == {"a": "pass"}
    assert sorted(left[0].parent.iterdir()) == left


def test_the_gpu_lane_does_not_interpret(evaluate, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    run = evaluate(
        """
        @pytest.mark.parametrize("what", ["a"])
        def test_item(what):
            assert "TRITON_INTERPRET" not in os.environ
            return verdict(what)
        """,
        lane="gpu",
        gpus=("0",),
    )
    assert statuses(run) == {"a": "pass"}


@pytest.mark.parametrize(("lane", "threads"), [("interpret", "1"), ("gpu", "3")])
def test_workers_do_not_oversubscribe_the_cores(evaluate, monkeypatch, lane, threads):
    monkeypatch.setattr(launcher.environment, "cpus", lambda: 6)
    run = evaluate(
        f"""
        @pytest.mark.parametrize("what", ["a", "b"])
        def test_item(what):
            assert os.environ["OMP_NUM_THREADS"] == "{threads}"
            return verdict(what)
        """,
        workers=2,
        lane=lane,
    )
    assert set(statuses(run).values()) == {"pass"}


def test_the_environment_of_this_process_stays_as_it_is(evaluate):
    before = dict(os.environ)
    evaluate("")
    assert dict(os.environ) == before | {"PYTEST_CURRENT_TEST": os.environ["PYTEST_CURRENT_TEST"]}
