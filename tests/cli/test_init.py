"""``braidcheck init``: a repository becomes a gated one, a second time changes nothing, and nothing is lost."""

import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import braidcheck
from braidcheck.cli import init
from braidcheck.environment import PACKAGE

KERNEL = "import triton\n\n\n@triton.jit\ndef _silu(x_ptr):\n    pass\n"
PYPROJECT = '[project]\nname = "mylib"\nversion = "1"\n\n[tool.ruff]\nline-length = 100'  # without a line end
NOXFILE = "import nox\n\n\n@nox.session\ndef tests(session):\n    session.run('pytest')\n"
OP = "braidcheck_ops/scaled_silu.py"
WORKFLOW, GPU_WORKFLOW = ".github/workflows/braidcheck.yml", ".github/workflows/braidcheck-gpu.yml"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with a package that has a Triton kernel; the working directory."""
    folder = tmp_path / "repository"
    (folder / "src" / "mylib").mkdir(parents=True)
    (folder / "src" / "mylib" / "kernels.py").write_text(KERNEL)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    return folder


def texts(folder):
    found = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.relative_to(folder).parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes().decode() for path in found}


def test_the_function_that_launches_is_named_and_what_is_known_can_be_checked_at_once(repository, run):
    launch = "\n\ndef rms_norm(x):\n    _silu[(1,)](x)\n\n\ndef other(x):\n    return x[0](x)\n"
    (repository / "src" / "mylib" / "kernels.py").write_text(KERNEL + launch)
    said = run("init").out
    assert "call rms_norm of src/mylib/kernels.py in it" in said
    assert "against its cases: braidcheck check rms_norm src/mylib/kernels.py:rms_norm\n" in said


def test_a_virtual_environment_that_git_does_not_ignore_is_no_part_of_the_project(repository, run):
    packages = repository / ".venv" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    (repository / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")  # Python before 3.13 writes no .gitignore
    (packages / "op.py").write_text(KERNEL + "\nOP = None\n")
    made = run("init")
    assert "Triton kernels in src/mylib/kernels.py, no tests" in made.out
    assert 'ops = ["braidcheck_ops"]' in (repository / "pyproject.toml").read_text()


def test_a_repository_becomes_a_gated_one_once(repository, run):
    before = texts(repository)
    checked = run("init", "--check")
    assert (checked.code, texts(repository)) == (1, before)
    assert f"missing: {WORKFLOW}" in checked.out
    made = run("init", "--gpu")
    assert made.code == 0
    assert "src layout, Triton kernels in src/mylib/kernels.py, no tests, no noxfile.py" in made.out
    assert "call _silu of src/mylib/kernels.py in it" in made.out
    after = texts(repository)
    assert after.keys() - before.keys() == {OP, WORKFLOW, GPU_WORKFLOW}
    assert after["pyproject.toml"] == PYPROJECT + '\n\n[tool.braidcheck]\nops = ["braidcheck_ops"]\n'
    again = run("init", "--gpu")
    assert (again.code, texts(repository)) == (0, after)
    assert f"kept {WORKFLOW}: it exists" in again.out
    assert "wrote" not in again.out
    checked = run("init", "--check")
    assert (checked.code, checked.out.splitlines()[1]) == (
        0,
        f"everything is present and of braidcheck {braidcheck.__version__}",
    )


def test_gate_of_the_written_files_is_green_and_with_a_fault_red(repository, run, monkeypatch):
    """As the workflow runs it, but for the gates: one, because each costs seconds."""
    run("init")
    steps = yaml.safe_load((repository / WORKFLOW).read_text())["jobs"]["gate"]["steps"]
    (command,) = [step["run"] for step in steps if step.get("run", "").startswith("braidcheck gate")]
    monkeypatch.setenv("BRAIDCHECK_GATES", "accuracy")
    monkeypatch.setenv("BRAIDCHECK_WORKERS", "1")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    green = run(*shlex.split(command)[1:])
    assert (green.code, "scaled_silu" in green.out) == (0, True), green.out + green.err
    op = repository / OP
    right = op.read_text()
    op.write_text(right.replace("tl.store(y_ptr + row * H + offs, x *", "tl.store(y_ptr + row * H + offs, 1.01 * x *"))
    assert op.read_text() != right
    red = run(*shlex.split(command)[1:])
    assert red.code == 1
    assert "fail accuracy scaled_silu[" in red.out


def test_a_noxfile_takes_a_session_and_keeps_the_rest(repository, run):
    (repository / "noxfile.py").write_text(NOXFILE)
    made = run("init")
    assert "or nox -s braidcheck" in made.out
    text = (repository / "noxfile.py").read_text()
    assert text.startswith(NOXFILE)
    assert f'session.install("braidcheck=={braidcheck.__version__}", "-e", ".")' in text
    run("init")
    assert (repository / "noxfile.py").read_text() == text


@pytest.mark.parametrize("text", ["from nox import session\n", "import nox\ndef (\n"])
def test_a_noxfile_that_cannot_take_one_is_kept(repository, run, text):
    (repository / "noxfile.py").write_text(text)
    assert "kept noxfile.py: it does not import nox" in run("init").out
    assert (repository / "noxfile.py").read_text() == text


def test_files_that_are_there_are_kept(repository, run):
    (repository / "pyproject.toml").write_text("[tool.braidcheck]\nworkers = 1\n")
    (repository / ".github" / "workflows").mkdir(parents=True)
    (repository / WORKFLOW).write_text("mine\n")
    before = texts(repository)
    assert run("init").code == 0
    assert texts(repository) == before


def test_a_table_that_names_nothing_to_gate_is_told(repository, run):
    run("init")
    (repository / "pyproject.toml").write_text("[tool.braidcheck]\nworkers = 1\n")
    checked = run("init", "--check")
    assert checked.code == 1
    assert "not gated: [tool.braidcheck] names neither ops nor an engine" in checked.out


def test_the_workflow_is_for_the_default_branch(repository, run):
    subprocess.run(["git", "checkout", "-q", "-b", 'odd"trunk'], cwd=repository, check=True)
    run("init")
    text = (repository / WORKFLOW).read_text()
    assert 'branches: ["odd\\"trunk"]' in text
    assert yaml.safe_load(text)["jobs"]["gate"]["steps"][-1]["with"]["path"] == "./braidcheck-out/"


def test_line_ends_and_text_are_kept(repository, run):
    (repository / "pyproject.toml").write_bytes('# ä\r\n[project]\r\nname = "it"'.encode())
    run("init")
    text = (repository / "pyproject.toml").read_bytes().decode()
    assert text.startswith('# ä\r\n[project]\r\nname = "it"\r\n')
    assert text.count("\n") == text.count("\r\n")


@pytest.mark.parametrize("text", ["[tool.braidcheck]\n", "tool = {ruff = {}}\n", "[[tool]]\n"])
def test_a_file_that_cannot_take_the_table_is_refused_before_anything_is_written(repository, run, text):
    (repository / "pyproject.toml").write_text(text)
    before = texts(repository)
    refused = run("init")
    assert (refused.code, texts(repository)) == (2, before)
    assert refused.err.count("\n") == 1


def test_ops_that_are_there_are_named_and_new_ones_missed(repository, run):
    checks = repository / "checks"
    checks.mkdir()
    shutil.copy(PACKAGE.parent / "docs" / "examples" / "silu_and_mul.py", checks / "packed.py")
    run("init")
    assert tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["braidcheck"]["ops"] == [
        "checks/packed.py"
    ]
    assert not (repository / "braidcheck_ops").exists()
    (checks / "packed.py").rename(checks / "other.py")
    assert "ops 'checks/packed.py': no such file" in run("init", "--check").out
    shutil.copy(checks / "other.py", checks / "packed.py")
    checked = run("init", "--check")
    assert (checked.code, checked.out.splitlines()[1:]) == (
        1, ["not gated: checks/other.py declares an op; name it in ops of [tool.braidcheck]"]
    )  # fmt: skip


def test_an_older_pin_is_out_of_date(repository, run):
    run("init")
    path = repository / WORKFLOW
    path.write_text(path.read_text().replace(f"braidcheck=={braidcheck.__version__}", "braidcheck==0.0.1"))
    checked = run("init", "--check")
    assert checked.code == 1
    assert f"out of date: {WORKFLOW}: it has braidcheck 0.0.1, installed is {braidcheck.__version__}" in checked.out


def test_a_project_in_a_folder_has_its_workflow_at_the_root(repository, run, monkeypatch):
    inner = repository / "python"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("")
    monkeypatch.chdir(inner)
    run("init")
    job = yaml.safe_load((repository / WORKFLOW).read_text())["jobs"]["gate"]
    assert job["defaults"]["run"]["working-directory"] == "python"
    assert job["steps"][-1]["with"]["path"] == "python/braidcheck-out/"
    assert (inner / OP).is_file()
    assert (repository / "pyproject.toml").read_text() == PYPROJECT


def test_no_repository_and_our_own_are_refused(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(2, "is not in a git repository; run: git init", "init")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "braidcheck").mkdir()
    (tmp_path / "braidcheck" / "op.py").touch()
    refused(2, "is braidcheck's own repository", "init")


def test_actions_are_those_of_our_own_workflows():
    own = "".join(path.read_text() for path in (PACKAGE.parent / ".github" / "workflows").glob("*.yml"))
    for path in sorted(init.TEMPLATES.glob("*.yml")):
        used = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if "uses: " in line]
        assert len(used) >= 2
        assert [line for line in used if line not in own] == []


def test_templates_are_in_the_package():
    assert {path.name for path in Path(init.TEMPLATES).iterdir()} == {
        "braidcheck.yml", "braidcheck-gpu.yml", "nox_session.txt", "op.txt"
    }  # fmt: skip
