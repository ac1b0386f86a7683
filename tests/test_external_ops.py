"""Ops outside of this package: where they are found, and what is said of those that are none."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from braidcheck import external_ops, kernels
from braidcheck.environment import PACKAGE
from braidcheck.errors import UserError

TUTORIAL = PACKAGE.parent / "docs" / "examples" / "silu_and_mul.py"
PYPROJECT = '[tool.braidcheck]\nops = ["mylib.checks"]\n'
FOUND_BY = """
import json

from braidcheck import external_ops, kernels
from braidcheck.benchmarks import shapes
from braidcheck.gates import soak
from braidcheck.gates.soak.measure import measure_soak, pairs
from braidcheck.mutants import affected_ops, generate, equivalents, selection
from braidcheck.mutants.runner import Runner
from braidcheck.settings import Settings

op = kernels.find()["silu_and_mul"]
soaked = measure_soak(op, pairs(op, 3, large=False), equivalents.find(op.name))
faults = [mutant for mutant in generate.generated([op.name]) if op.name in mutant.ops]
selection.OF_OPS = ("accuracy",)
matrix = Runner("interpret").run([fault for fault in faults if ".constant." in fault.id][:1], workers=1)
print(json.dumps({
    "series": [one.name for one in shapes.series({op.name: op})],
    "soaked": [row["function"] for row in soaked["functions"] if row["error_ratio"] <= soak.LIMIT],
    "files": sorted({fault.file for fault in faults}),
    "all": op.name in affected_ops.every(),
    "outcomes": [row["outcome"] for row in matrix["mutants"]],
}))
"""


@pytest.fixture
def project(tmp_path):
    """The folder of a project with a package, mylib, that keeps an op apart from its kernel."""
    source = TUTORIAL.read_text()
    start, end = source.index("@triton.jit"), source.index("def silu_and_mul(x)")
    package = tmp_path / "project" / "mylib"
    (package / "checks").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "checks" / "__init__.py").touch()
    (package / "kernel.py").write_text(f"import triton\nimport triton.language as tl\n\n\n{source[start:end]}")
    op = source[:start] + "from mylib.kernel import _silu_and_mul\n\n\n" + source[end:]
    (package / "checks" / "packed.py").write_text(op)
    (package / "checks" / "no_op.py").write_text("raise ValueError('it declares no op: nobody imports it')\n")
    (package.parent / "pyproject.toml").write_text(PYPROJECT)
    return package.parent


def run(folder, *words):
    """What Python, in ``folder``, says of these words."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("BRAIDCHECK")}
    env |= {"PYTHONPATH": str(PACKAGE.parent), "TRITON_INTERPRET": "1", "COLUMNS": "200"}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_tutorial_is_short():
    assert len(TUTORIAL.read_text().splitlines()) < 60


def test_projects_op_meets_the_gates_in_their_workers(project):
    words = ("gate", "--lane", "interpret", "--workers", "1", "--op", "silu_and_mul", "--out", "out")
    run(project, "-m", "braidcheck", *words, "-k", "accuracy or edges or vacuity or determinism")
    verdicts = json.loads((project / "out" / "run.json").read_text())["verdicts"]
    assert {(verdict["gate"], verdict["status"]) for verdict in verdicts} == {
        (gate, "pass") for gate in ("accuracy", "edges", "vacuity", "determinism")
    }


def test_projects_op_is_found_by_mutants_benchmarks_and_soak(project):
    script = "from braidcheck import external_ops\nwith external_ops.announced():\n    exec(SCRIPT)"
    found = json.loads(run(project, "-c", f"SCRIPT = {FOUND_BY!r}\n{script}").splitlines()[-1])
    assert found == {
        "series": ["silu_and_mul[4096 tokens]"],
        "soaked": ["kernel", "PyTorch baseline", "sigmoid", "division", "float64"],
        "files": ["../mylib/kernel.py"],
        "all": True,
        "outcomes": ["survived", "killed"],  # the package as it is, and the fault
    }


@pytest.fixture
def announced(monkeypatch):
    """The declarations that names give, from a folder."""

    def find(*names, folder):
        with external_ops.announced(names, folder):
            return [(Path(one.root).name, one.module) for one in external_ops.declared()]

    monkeypatch.delenv(external_ops.VARIABLE, raising=False)
    return find


def test_files_folders_modules_and_projects_are_found(project, announced, tmp_path):
    (tmp_path / "alone.py").write_text("OP: object = None\n")
    found = [("project", "mylib.checks.packed")]
    assert announced(folder=project / "mylib") == found  # of the project around
    assert announced("mylib.checks.packed", "mylib", folder=project) == found
    assert announced(str(tmp_path / "alone.py"), folder=tmp_path) == [(tmp_path.name, "alone")]
    assert set(announced(str(tmp_path), folder=tmp_path)) == {*found, (tmp_path.name, "alone")}
    assert announced(folder=tmp_path) == []
    assert external_ops.VARIABLE not in os.environ


def test_modules_of_installed_packages_are_found(project, announced, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(project)
    entries = [EntryPoint("any", "mylib.checks", external_ops.GROUP)]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries if group == external_ops.GROUP else [])
    assert announced(folder=tmp_path) == [("project", "mylib.checks.packed")]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("nowhere", None, "ops 'nowhere': no such file, folder or module"),
        ("empty", "", "ops 'empty': no Python file there assigns OP; give a file, a folder or a module"),
        ("number", "OP = 3", "must be a braidcheck.op.Op, is int"),
        ("broken", "OP = None + 1", "cannot be imported: TypeError: unsupported operand"),
        ("twin", "from braidcheck.kernels.rms_norm.op import OP\nOP = OP", "two ops are called rms_norm"),
    ],
)
def test_what_is_no_op_is_said_in_one_line(name, text, says, tmp_path, monkeypatch):
    if text is not None:
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}_op.py").write_text(text)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(UserError) as caught, external_ops.announced([name], tmp_path):
        kernels.find()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_command_that_repeats_a_run_names_the_ops_too(announced, tmp_path):
    shutil.copy(TUTORIAL, tmp_path)
    with external_ops.announced(["silu_and_mul.py"], tmp_path):
        assert external_ops.options() == ["--ops", "silu_and_mul.py"]
    assert external_ops.options() == []


@pytest.fixture
def modules_of_one_test(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "mylib"]:
        del sys.modules[name]


@pytest.mark.usefixtures("modules_of_one_test")
def test_ops_are_unknown_behind_their_announcement_and_known_again_in_the_next(project):
    for _ in range(2):
        assert external_ops.tops() == set()
        with external_ops.announced(folder=project):
            assert "silu_and_mul" in kernels.find()
            assert (external_ops.tops(), external_ops.of_project()) == ({"mylib"}, ["silu_and_mul"])
            assert external_ops.module_of("silu_and_mul") == "mylib.checks.packed"
        assert external_ops.module_of("silu_and_mul") == ""
