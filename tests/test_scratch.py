"""Temporary folders: removed at the end, and by the next process where a process was killed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from braidcheck import environment, scratch

pytestmark = pytest.mark.usefixtures("fresh_python")  # a forked one has chosen its folder of temporary folders


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The folder of temporary folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scratch._remove_left_over.cache_clear()
    return tmp_path


def process(place, then):
    """A process that makes a folder, says its path, and does something ``then`` once it reads a line."""
    code = "import sys, os\nfrom braidcheck import scratch\nmade = scratch.Folder('test')\n"
    code += f"(made.path / 'file').touch()\nprint(made.path, flush=True)\nsys.stdin.readline()\n{then}"
    env = os.environ | {"PYTHONPATH": str(environment.PACKAGE.parent), "TMPDIR": str(place)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = subprocess.Popen([sys.executable, "-c", code], env=env, **pipes)
    return started, Path(started.stdout.readline().strip())


def test_a_folder_ends_with_its_context_or_its_process(place):
    with scratch.Folder("test") as folder:
        (folder / "file").touch()
        assert [folder] == list(place.iterdir())
    assert not folder.exists()
    other, made = process(place, "")
    assert made.is_dir()
    other.communicate("\n")
    assert not made.exists()


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(place):
    killed, left = process(place, "")
    living, used = process(place, "")
    other = place / "braidcheck-of-another-program"
    other.mkdir()
    killed.kill()
    killed.communicate()
    assert left.is_dir()
    with scratch.Folder("test"):
        assert not left.exists()
        assert (used / "file").exists()
        assert other.exists()
    living.communicate("\n")


def test_a_forked_process_leaves_the_folder_to_its_parent(place):
    parent, made = process(place, "if not os.fork(): sys.exit()\nos.wait()\nassert made.path.exists()")
    parent.communicate("\n")
    assert parent.returncode == 0
    assert not made.exists()


def test_a_folder_in_use_by_a_forked_process_outlives_its_maker(place):
    parent, made = process(place, "if os.fork(): os.kill(os.getpid(), 9)\nsys.stdout.close(); sys.stdin.readline()")
    parent.stdin.write("\n")
    parent.stdin.flush()
    parent.wait()
    with scratch.Folder("test"):
        assert made.exists()
    parent.stdin.close()
