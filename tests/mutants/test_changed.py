"""The ops that a change touches, from a real repository: its kernels' own files, and what all of them share."""

import os
import subprocess

import pytest

from braidcheck.errors import UserError
from braidcheck.mutants import affected_ops, changed

KERNELS = "braidcheck/kernels"


@pytest.mark.parametrize(
    ("files", "ops"),
    [
        (["README.md", "tests/kernels/test_find.py", "braidcheck/report/rows.py", "kernels/rms_norm/__init__.py"], []),
        ([f"{KERNELS}/rms_norm/__init__.py"], ["rms_norm"]),
        ([f"{KERNELS}/rms_norm/__init__.py", f"{KERNELS}/lm_head/__init__.py"], ["lm_head", "rms_norm"]),
        ([f"{KERNELS}/fused_attention/kernel.py"], ["fused_attention"]),
        ([f"{KERNELS}/common/rms_norm.py"], None),
        (["braidcheck/numerics/rounding.py"], None),
        ([f"{KERNELS}/__init__.py"], None),
        ([f"{KERNELS}/deleted/__init__.py"], None),
        (["braidcheck/gates/accuracy/__init__.py"], None),
        (["braidcheck/op.py"], None),
        (["braidcheck"], []),
    ],
)
def test_names_of_files_become_ops(files, ops):
    assert changed.touched(files) == (sorted(affected_ops.every()) if ops is None else ops)
    assert len(affected_ops.every()) > 10


@pytest.fixture
def repository(tmp_path):
    def git(*words):
        who = {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@b",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b",
        }
        return subprocess.run(
            ["git", "-C", str(tmp_path), *words], check=True, env=os.environ | who, capture_output=True
        )

    def write(name, text="x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    git("init", "--initial-branch", "main")
    write(f"{KERNELS}/rms_norm/__init__.py")
    write(f"{KERNELS}/lm_head/__init__.py")
    git("add", ".")
    git("commit", "-m", "base")
    return tmp_path, git, write


def test_what_the_base_did_since_is_no_change_of_ours(repository):
    folder, git, write = repository
    git("switch", "-c", "topic")
    write(f"{KERNELS}/rms_norm/__init__.py", "mine")
    git("commit", "-am", "mine")
    git("switch", "main")
    write(f"{KERNELS}/lm_head/__init__.py", "theirs")
    git("commit", "-am", "theirs")
    git("switch", "topic")
    assert changed.ops("main", folder) == ["rms_norm"]


def test_changed_files_include_uncommitted_and_renamed(repository):
    folder, git, write = repository
    assert changed.ops("main", folder) == []
    write(f"{KERNELS}/cache_write/__init__.py")
    assert changed.ops("main", folder) == ["cache_write"]
    git("mv", f"{KERNELS}/rms_norm", f"{KERNELS}/qkv_rope")
    assert changed.ops("main", folder) == ["cache_write", "qkv_rope", "rms_norm"]


def test_a_base_that_is_not_there_is_said(repository):
    folder, git, _ = repository
    with pytest.raises(UserError, match="--changed nowhere"):
        changed.ops("nowhere", folder)
    git("switch", "--orphan", "apart")
    git("commit", "--allow-empty", "-m", "no past")
    with pytest.raises(UserError, match="no merge base"):
        changed.ops("main", folder)
