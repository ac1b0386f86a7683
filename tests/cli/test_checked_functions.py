"""What check --all checks, and functions at a commit."""

import subprocess
from pathlib import Path

import pytest

from braidcheck.cli.checked_functions import Function, at_commit, chosen
from braidcheck.errors import UserError

DECLARED = ["rms_norm = mylib.ops:norm", "rms_norm(output=input dtype, weight=1 + weight)=mylib.gemma:norm"]


def test_functions_are_read_as_they_are_named():
    assert chosen(DECLARED) == [
        Function("rms_norm", "mylib.ops:norm"),
        Function("rms_norm", "mylib.gemma:norm", ("output=input dtype", "weight=1 + weight")),
    ]
    assert [one.name for one in chosen(DECLARED, "mylib.gemma")] == ["mylib.gemma:norm"]


@pytest.mark.parametrize(
    ("declared", "module", "says"),
    [
        ([], "", "has nothing to check: name functions"),
        (DECLARED, "mylib.opps", "no function of mylib.opps is in the key functions of .*; did you mean mylib.ops"),
        (DECLARED, "other", "they are of mylib.ops, mylib.gemma"),
        (["mylib.ops:norm"], "", "must be OP=FUNCTION, such as"),
        (["rms_norm=norm"], "", "must be OP=FUNCTION, such as"),
    ],
)
def test_what_is_no_declaration_is_refused(declared, module, says):
    with pytest.raises(UserError, match=says) as refused:
        chosen(declared, module)
    assert "\n" not in str(refused.value)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """One whose first commit has another file than the working tree."""
    monkeypatch.chdir(tmp_path)
    Path("pack").mkdir()
    Path("pack", "norm.py").write_text("one = 1")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "c"]):
        subprocess.run(["git", *words], check=True)
    Path("pack", "norm.py").write_text("two = 2")
    return tmp_path


def test_a_function_at_a_commit_lies_in_a_copy_of_it(repository):
    with at_commit("HEAD:pack/norm.py:f") as name:
        file, function = name.rsplit(":", 1)
        assert (Path(file).read_text(), function) == ("one = 1", "f")
    assert not Path(file).exists()


@pytest.mark.parametrize("name", ["pack/norm.py:f", "pack.norm:f", "f"])
def test_other_names_stay(name):
    with at_commit(name) as same:
        assert same == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nope:pack/norm.py:f", "cannot be taken from git: fatal: "),
        ("HEAD:nope.py:f", "HEAD has no file nope.py; give the path from the root"),
        ("--output=x:a.py:f", "is not a commit, branch or tag"),
    ],
)
def test_a_commit_or_file_that_is_not_there_is_one_line(repository, name, says):
    with pytest.raises(UserError, match=says) as refused, at_commit(name):
        pass
    assert "\n" not in str(refused.value)


def test_without_git_a_commit_is_refused_in_one_line(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="it is not installed"), at_commit("HEAD:pack/norm.py:f"):
        pass
