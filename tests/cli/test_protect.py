"""``braidcheck protect`` in small repositories: the base's oracles on a change, waivers, and what cannot be
evaluated."""

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
FAULT = (
    f"{LINEAR}/kernel.py",
    "sum_slices(acc, NUM_SLICES) + residual.to(tl.float32)",
    "sum_slices(acc, NUM_SLICES) + 1.01 * residual.to(tl.float32)",
)


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


def test_fault_under_looser_bound_requires_approval(repository, protect, tmp_path):
    for one in (LOOSER, FAULT):
        edit(repository, *one)
    completed = protect()
    assert completed.code == 1
    assert f"fail {CASE}: requires maintainer approval: only the change's oracles let it pass" in completed.out
    assert (
        "the change edits braidcheck/kernels/linear_residual/oracle.py (the op's reference and bound)" in completed.out
    )
    made = Run.from_json((tmp_path / "out" / "run.json").read_text())
    assert (made.status, made.environment["oracles"]) == ("fail", git(repository, "rev-parse", "main").strip())
    assert f"- **fail** `{CASE}`: requires maintainer approval" in (tmp_path / "out" / "summary.md").read_text()
    assert git(repository, "worktree", "list").count("\n") == 1

    waiver = f'[[waiver]]\nsubject = "{CASE}"\nreason = "agreed"\nexpires = 2999-01-31\n'
    (repository / "waivers.toml").write_text(waiver)
    own = tmp_path / "out" / "the change's oracles" / "run.json"
    completed = protect("--own", own)
    assert f"pass {CASE}: waived until 2999-01-31: agreed" in completed.out
    assert "evaluating with the change's oracles" not in completed.err


def test_unedited_oracles_run_base_only(repository, protect, tmp_path):
    completed = protect()
    assert (completed.code, "edited oracles" in completed.out) == (0, False)
    assert not (tmp_path / "out" / "the change's oracles").exists()


def test_base_without_kernels_option_is_skipped(repository, protect):
    edit(repository, "braidcheck/settings.py", "kernels: str", "others: str")
    git(repository, "-c", "user.name=a", "-c", "user.email=a@example", "commit", "-qam", "old")
    completed = protect(ref="HEAD")
    assert completed.code == 3
    assert "skipped: the base" in completed.err
    assert "has no gate --kernels" in completed.err


@pytest.mark.parametrize(
    ("words", "ref", "code", "says"),
    [
        ((), "nowhere", 2, "nowhere: no such commit"),
        (("--own", "nothing.json"), "main", 2, "--own nothing.json: not the run.json of a gate"),
        (("--op", "no_op"), "main", 2, "no_op"),
    ],
)
def test_a_wrong_call_is_one_line(protect, words, ref, code, says):
    completed = protect(*words, ref=ref)
    assert completed.code == code
    assert says in completed.err
    assert completed.err.count("\n") == 1


def test_waiver_without_reason_is_usage_error(repository, protect):
    (repository / "waivers.toml").write_text('[[waiver]]\nsubject = "a"\nexpires = 2999-01-31\n')
    completed = protect()
    assert (completed.code, "has no reason" in completed.err) == (2, True)


def test_missing_kernels_folder_is_usage_error(run, no_gpu, tmp_path):
    completed = run("gate", "--lane", "interpret", "--kernels", tmp_path)
    assert (completed.code, "no braidcheck/kernels in it" in completed.err) == (2, True)


def test_only_kernel_gates_run_on_another_tree(suite, run, result):
    completed = run("gate", "--lane", "interpret", "--workers", 1, "--kernels", PACKAGE.parent)
    made, _, _ = result()
    assert completed.code == 0
    assert {verdict.gate for verdict in made.verdicts} == {"coherence", "layers", "accuracy", "targets"}


@pytest.mark.parametrize("gate", [name for name, gate in GATES.items() if gate.runs_kernels])
def test_gate_that_can_test_another_tree_looks_up_the_package_under_test(gate):
    folder = "races" if gate == "step_races" else gate
    files = [PACKAGE / "gates" / f"{gate}.py", *(PACKAGE / "gates" / folder).glob("*.py")]
    text = "".join(file.read_text() for file in files if file.is_file())
    imported = (
        r"from braidcheck\.gates\.(under_test import .*\b(module|wrapper)|accuracy\.measure import .*\bcase_check)\b"
    )
    assert re.search(imported, text)
