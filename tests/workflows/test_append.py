"""Runs on their way to the data branch: none is lost, whoever pushes at the same time, and a failure is said."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from braidcheck.result import Run

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".github" / "append.sh"
pytestmark = pytest.mark.skipif(not (shutil.which("bash") and shutil.which("git")), reason="needs bash and git")


def git(folder, *words):
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def remote(tmp_path):
    git(tmp_path, "init", "--bare", "remote.git")
    return tmp_path / "remote.git"


@pytest.fixture
def append(tmp_path, remote):
    git(tmp_path, "clone", str(remote), "work")
    (tmp_path / "run.json").write_text(Run({"started": "2026-11-21T10:00:00+00:00"}, (), ()).to_json())

    def start(file="run.json", **more):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "GH_TOKEN": "secret", "PAUSE": "0"} | more
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(["bash", str(SCRIPT), str(tmp_path / file)], cwd=tmp_path / "work", env=env, **pipes)

    return start


def runs(remote):
    return git(remote, "ls-tree", "-r", "--name-only", "data").split()


def test_writers_at_once_lose_nothing(append, remote):
    writers = [append(ATTEMPTS="20") for _ in range(3)]
    said = [writer.communicate()[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 3, said
    assert len(runs(remote)) == 3
    assert all(name.startswith("history/20261121T100000Z-") for name in runs(remote))
    assert len(git(remote, "rev-list", "data").split()) == 3  # nothing was forced


def test_a_remote_that_refuses_is_tried_again_and_then_said(append, remote):
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    writer = append(ATTEMPTS="2")
    said = writer.communicate()[0]
    assert writer.returncode == 1
    assert "attempt 2 of 2 failed" in said
    assert said.endswith("the Run is not on data\n")
    assert "secret" not in said


def test_what_is_no_run_is_not_appended(append, remote, tmp_path):
    (tmp_path / "other.json").write_text("{}")
    writer = append("other.json", ATTEMPTS="1")
    assert "not a braidcheck run" in writer.communicate()[0]
    assert writer.returncode == 1
    assert git(remote, "branch", "--list", "data") == ""


def test_a_remote_that_cannot_be_reached_is_no_empty_branch(append, remote, tmp_path):
    remote.rename(tmp_path / "gone.git")
    writer = append(ATTEMPTS="1")
    writer.communicate()
    assert writer.returncode == 1


def test_the_token_is_written_nowhere(append, remote, tmp_path):
    append().communicate()
    files = [path for folder in (remote, tmp_path / "work") for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if b"secret" in path.read_bytes()]
