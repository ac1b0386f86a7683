"""The two trees: where the base comes from, and that only kernels differ."""

import shutil
import subprocess

import pytest

from braidcheck.ci.paired import measure, worktrees
from braidcheck.ci.paired.measure import compare
from braidcheck.ci.paired.process import Process, WorkerError
from braidcheck.errors import UserError


@pytest.fixture
def repository(tmp_path):
    """A repository with a package of one kernel, and a branch on which the kernel has changed."""
    folder = tmp_path / "repository"
    (folder / "braidcheck" / "kernels").mkdir(parents=True)
    kernel = folder / "braidcheck" / "kernels" / "op.py"

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example"]
        asked = subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True)
        return asked.stdout.strip()

    git("init", "-q", "-b", "main")
    for text in ("old", "new"):
        kernel.write_text(text)
        git("add", "-A")
        git("commit", "-q", "-m", text)
        if text == "old":
            git("switch", "-q", "-c", "change")
    return folder


def test_the_base_is_the_merge_base_by_default(repository):
    assert (
        worktrees.default_base(repository)
        == worktrees.resolve("main", repository)
        == worktrees.resolve("change~1", repository)
    )


def test_without_a_repository_or_a_branch_there_is_no_base(repository, tmp_path):
    assert worktrees.default_base(tmp_path) == ""
    shutil.rmtree(repository / ".git" / "refs" / "heads", ignore_errors=True)
    assert worktrees.default_base(repository) == ""


def test_a_commit_that_is_not_there_is_one_line(repository):
    with pytest.raises(UserError, match="nowhere: no such commit"):
        worktrees.resolve("nowhere", repository)


def test_the_worktree_holds_the_base_and_goes_again(repository, tmp_path):
    base = worktrees.resolve("main", repository)
    with worktrees.checked_out(base, tmp_path, repository) as worktree:
        assert (worktree / "braidcheck" / "kernels" / "op.py").read_text() == "old"
        assert not worktrees.same_kernels(worktree, repository)
        assert worktrees.same_kernels(worktree, worktree)
    assert not worktree.exists()
    assert (
        subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True).stdout.count("\n")
        == 1
    )


def test_both_trees_are_timed_by_the_same_tools(repository, tmp_path):
    tree = worktrees.prepare_worktree(repository, tmp_path / "tree")
    assert (tree / "braidcheck" / "kernels" / "op.py").read_text() == "new"
    for tool in worktrees.TOOLS:
        assert worktrees._files(worktrees.PACKAGE, (tool,))  # this tree's own are there
        assert (tree / "braidcheck" / tool / "__init__.py").read_bytes() == (
            worktrees.PACKAGE / tool / "__init__.py"
        ).read_bytes()


OLD_OP = """
class Case:
    def __init__(self, op, axes):
        self.op, self.axes = op, axes

    def get(self, axis, default=0):
        return self.axes.get(axis, default)

class Op:
    pass
"""
OLD_KERNEL = """
import types

import torch

from braidcheck.op import Case

def scale(x):
    return 2 * x

OP = types.SimpleNamespace(call=scale)
OP.inputs = lambda case, device: {"x": torch.arange(case.get("T"), dtype=torch.float32)}
OP.cost = lambda case: types.SimpleNamespace(bytes=8 * case.get("T"))
"""


def test_the_tools_prepare_an_op_of_a_base_that_knows_only_cases_and_ops(tmp_path):
    """What else this tree's op.py defines, the tools may not import: the base's stays in place."""
    package = tmp_path / "base" / "braidcheck"
    (package / "kernels" / "scale").mkdir(parents=True)
    for folder in (package, package / "kernels", package / "kernels" / "scale", package / "ci"):
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
    (package / "op.py").write_text(OLD_OP)
    (package / "kernels" / "scale" / "op.py").write_text(OLD_KERNEL)
    process = Process("base", worktrees.prepare_worktree(tmp_path / "base", tmp_path / "tree"))
    try:
        answer = process.ask("prepare", {"name": "scale[a]", "op": "scale", "axes": {"T": 3}})
        assert answer["inputs"]["x"].startswith("torch.float32 [3] ")
        with pytest.raises(WorkerError, match=r"braidcheck\.models"):
            process.ask("prepare", {"name": "engine[a]", "op": "engine", "request": "a"})
    finally:
        process.close()


def test_what_cannot_be_compared_is_said(repository, tmp_path):
    wanted = [{"name": "op[a]", "op": "op", "axes": {}}]
    same = compare(repository, repository, tmp_path, wanted, 1.0)
    assert "byte for byte" in same["reason"]
    (tmp_path / "bare" / "braidcheck").mkdir(parents=True)
    assert "no kernels" in compare(tmp_path / "bare", repository, tmp_path, wanted, 1.0)["reason"]


def test_a_change_of_the_engine_alone_times_the_engine_alone(repository, tmp_path, monkeypatch):
    """``models`` is not a kernel's: its ops are the base's, and are not asked."""
    base = tmp_path / "base"
    shutil.copytree(repository / "braidcheck", base / "braidcheck")
    (repository / "braidcheck" / "models").mkdir()
    (repository / "braidcheck" / "models" / "decode.py").write_text("slower")
    assert worktrees.same_kernels(base, repository)
    assert not worktrees.same_engine(base, repository)
    asked = []
    monkeypatch.setattr(measure.Session, "measure", lambda self, series, seconds: asked.extend(series) or {})
    wanted = [{"name": "op[a]", "op": "op", "axes": {}}, {"name": "engine[b]", "op": "engine", "request": "b"}]
    found = compare(base, repository, tmp_path / "both", wanted, 1.0)["series"]
    assert asked == wanted[1:]
    assert "byte for byte" in found["op[a]"]["trouble"]["said"]
