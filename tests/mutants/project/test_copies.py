"""Copies of a project: what is in them, and that the project itself is never written."""

import subprocess

import pytest

from braidcheck.errors import UserError
from braidcheck.mutants.project import copies


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    (root / "src" / "lib").mkdir(parents=True)
    (root / "src" / "lib" / "__init__.py").write_text("")
    (root / "src" / "lib" / "kernel.py").write_text("OLD = 1\n")
    (root / "link.py").symlink_to("src/lib/kernel.py")
    (root / ".gitignore").write_text("*.log\n")
    (root / "run.log").write_text("")
    (root / "pyproject.toml").write_text("")
    return root


def test_a_copy_holds_what_git_would_track(project, tmp_path):
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    assert copies.root_of(project / "src" / "lib" / "kernel.py") == project
    copies.copy(project, tmp_path / "copy")
    found = {path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*.*")}
    assert found == {"src/lib/__init__.py", "src/lib/kernel.py", "link.py", ".gitignore", "pyproject.toml"}


def test_without_git_the_root_has_a_project_file(project, tmp_path):
    (project / ".venv").mkdir()
    (project / "env").mkdir()
    (project / "env" / "pyvenv.cfg").write_text("")
    assert copies.root_of(project / "src" / "lib" / "kernel.py") == project
    copies.copy(project, tmp_path / "copy")
    assert (tmp_path / "copy" / "src" / "lib" / "kernel.py").exists()
    assert not (tmp_path / "copy" / "env").exists()


def test_a_file_in_no_project_is_refused(tmp_path):
    with pytest.raises(UserError, match="lies in no git repository"):
        copies.root_of(tmp_path / "kernel.py")


def test_a_copy_writes_nothing_into_the_project(project, tmp_path):
    copies.copy(project, tmp_path / "copy")
    with copies.changed(tmp_path / "copy" / "link.py", "NEW = 1\n"):
        assert (tmp_path / "copy" / "link.py").read_text() == "NEW = 1\n"
    assert (tmp_path / "copy" / "link.py").read_text() == "OLD = 1\n"
    assert (project / "src" / "lib" / "kernel.py").read_text() == "OLD = 1\n"


def test_packages_are_imported_from_the_copy(project):
    folders = copies.import_folders(project, [project / "src" / "lib" / "kernel.py"])
    assert folders == [str(project), str(project / "src")]
