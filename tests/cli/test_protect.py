"""``braidcheck protect`` in small repositories: the base's judges on a change, waivers, and what cannot be judged."""

import re
import shutil
import subprocess

import pytest

from braidcheck.environment import PACKAGE
from braidcheck.gates import GATES
from braidcheck.result import Run

LINEAR = "braidcheck/kernels/linear_residual"
CASE = "accuracy linear_residual[bfloat16-tail-T7-K1000-H331]"
LOOSER = (f"{LINEAR}/oracle.py", "return (error + ", "return (1e9 + error + ")
FAULT = (f"{LINEAR}/kernel.py", "acc += residual.to(tl.float32)", "acc += 1.01 * residual.to(tl.float32)")


@pytest.fixture
def repository(tmp_path):
    """A repository with this package on main, but for the model and all cases of ``linear_residual`` save two."""
    folder = tmp_path / "repository"
    ignored = shutil.ignore_patterns("__pycache__", "nano", "nano_golden")
    shutil.copytree(PACKAGE, folder / "braidcheck", ignore=ignored)
    path = folder / LINEAR / "cases.py"
    before, rest = path.read_text().split("CASES = (\n")
    kept = '    _case(7, 1000, 331, "tail"),\n    _case(9, 512, 256, "sparse"),\n'
    path.write_text(before + "CASES = (\n" + kept + rest[rest.index(")\n\nNEGATIVE") :])
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@example", "commit", "-q", "-m", "base")
    return folder


def git(folder, *words):
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def edit(folder, file, old, new):
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


@pytest.fixture
def protect(repository, run, no_gpu, tmp_path):
    def go(*words, ref="main"):
        options = ("--change", repository, "--lane", "interpret", "--op", "linear_residual", "--workers", 1)
        return run("protect", ref, *options, "--out", tmp_path / "out", *words)

    return go


def test_a_fault_under_a_looser_bound_needs_a_human(repository, protect, tmp_path):
    for one in (LOOSER, FAULT):
        edit(repository, *one)
    said = protect()
    assert said.code == 1
    assert f"fail {CASE}: needs a human: only the change's judges let it pass" in said.out
    assert "the change edits braidcheck/kernels/linear_residual/oracle.py (the op's reference and bound)" in said.out
    made = Run.from_json((tmp_path / "out" / "run.json").read_text())
    assert (made.status, made.environment["judges"]) == ("fail", git(repository, "rev-parse", "main").strip())
    assert f"- **fail** `{CASE}`: needs a human" in (tmp_path / "out" / "summary.md").read_text()
    assert git(repository, "worktree", "list").count("\n") == 1

    waiver = f'[[waiver]]\nsubject = "{CASE}"\nreason = "agreed"\nexpires = 2999-01-31\n'
    (repository / "waivers.toml").write_text(waiver)
    own = tmp_path / "out" / "the change's judges" / "run.json"
    said = protect("--own", own)
    assert f"pass {CASE}: waived until 2999-01-31: agreed" in said.out
    assert "judging by the change's judges" not in said.err


def test_without_edited_judges_only_the_base_judges(repository, protect, tmp_path):
    said = protect()
    assert (said.code, "edited judges" in said.out) == (0, False)
    assert not (tmp_path / "out" / "the change's judges").exists()


def test_a_base_without_the_means_is_not_judged(repository, protect):
    edit(repository, "braidcheck/settings.py", "kernels: str", "others: str")
    git(repository, "-c", "user.name=a", "-c", "user.email=a@example", "commit", "-qam", "old")
    said = protect(ref="HEAD")
    assert said.code == 3
    assert "not judged: the base" in said.err
    assert "has no gate --kernels" in said.err


@pytest.mark.parametrize(
    ("words", "ref", "code", "complaint"),
    [
        ((), "nowhere", 2, "nowhere: no such commit"),
        (("--own", "nothing.json"), "main", 2, "--own nothing.json: no run of a gate"),
        (("--op", "no_op"), "main", 2, "no_op"),
    ],
)
def test_a_wrong_call_is_one_line(protect, words, ref, code, complaint):
    said = protect(*words, ref=ref)
    assert said.code == code
    assert complaint in said.err
    assert said.err.count("\n") == 1


def test_a_waiver_without_a_reason_is_a_wrong_call(repository, protect):
    (repository / "waivers.toml").write_text('[[waiver]]\nsubject = "a"\nexpires = 2999-01-31\n')
    said = protect()
    assert (said.code, "has no reason" in said.err) == (2, True)


def test_kernels_that_are_not_there_are_a_wrong_call(run, no_gpu, tmp_path):
    said = run("gate", "--lane", "interpret", "--kernels", tmp_path)
    assert (said.code, "no braidcheck/kernels in it" in said.err) == (2, True)


def test_of_another_tree_only_what_judges_kernels_runs(suite, run, result):
    said = run("gate", "--lane", "interpret", "--workers", 1, "--kernels", PACKAGE.parent)
    made, _, _ = result()
    assert said.code == 0
    assert {verdict.gate for verdict in made.verdicts} == {"coherence", "layers", "accuracy", "targets"}


@pytest.mark.parametrize("gate", [name for name, gate in GATES.items() if gate.runs_kernels])
def test_gate_that_can_test_another_tree_looks_up_the_package_under_test(gate):
    files = [PACKAGE / "gates" / f"{gate}.py", *(PACKAGE / "gates" / gate).glob("*.py")]
    text = "".join(file.read_text() for file in files if file.is_file())
    imported = (
        r"from braidcheck\.gates\.(under_test import .*\b(module|wrapper)|accuracy\.measure import .*\bcase_check)\b"
    )
    assert re.search(imported, text)
