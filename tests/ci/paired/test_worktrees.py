"""The two trees: where the base comes from, and that only kernels differ."""

import shutil
import subprocess

import pytest

from braidcheck.benchmarks.shapes import Series
from braidcheck.ci.paired import worktrees
from braidcheck.ci.paired.measure import compare
from braidcheck.errors import UserError
from braidcheck.op import Case


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
        assert worktrees._files(worktrees.PACKAGE)  # this tree's own are there
        assert (tree / "braidcheck" / tool / "__init__.py").read_bytes() == (
            worktrees.PACKAGE / tool / "__init__.py"
        ).read_bytes()


def test_what_cannot_be_compared_is_said(repository, tmp_path):
    wanted = [Series("op[a]", "op", Case("op", {}))]
    same = compare(repository, repository, tmp_path, wanted, 1.0)
    assert "byte for byte" in same["reason"]
    (tmp_path / "bare" / "braidcheck").mkdir(parents=True)
    assert "no kernels" in compare(tmp_path / "bare", repository, tmp_path, wanted, 1.0)["reason"]
