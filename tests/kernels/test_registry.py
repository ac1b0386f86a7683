"""An op is one folder: a throw-away one is found by every gate and tool, and nothing else in the package is edited."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from braidcheck.environment import PACKAGE

OP = Path(__file__).parent / "throw_away"  # y = 2 * x + 1
GATES = ("accuracy", "fence", "edges", "calls", "races", "sizes", "determinism", "vacuity", "paths")
# What each consumer makes of the op, as JSON.
FOUND_BY = """
import json
from pathlib import Path

from braidcheck import kernels
from braidcheck.benchmarks import ops, shapes
from braidcheck.ci.protection import oracles
from braidcheck.gates import accuracy, soak
from braidcheck.gates.soak.measure import measure_soak, pairs
from braidcheck.mutants import changed, generate, equivalents, named_faults, selection, sensitivity

op = kernels.find()["throw_away"]
(timed,) = shapes.series({"throw_away": op})
inputs = shapes.arguments(op, timed.case)
calls, _ = ops.baselines_for(op, inputs)
faults = list(sensitivity.of_accuracy(op, "cpu", lambda seen: accuracy.evaluate(seen).status == "fail"))
(named,) = [mutant for mutant in named_faults.named() if mutant.ops == ("throw_away",)]
generated = [mutant for mutant in generate.generated(["throw_away"]) if mutant.part == "throw_away"]
soaked = measure_soak(op, pairs(op, 2, large=False), equivalents.find("throw_away"))
folder = Path(kernels.__file__).parent / "throw_away"
files = {path.name: oracles.decides(f"braidcheck/kernels/throw_away/{path.name}") for path in folder.glob("*.*")}
print(json.dumps({
    "series": timed.name,
    "baselines": list(calls),
    "eager is the op": ops.checked(op, "eager", calls["eager"], inputs) == {},
    "sensitivity": sorted({row["on"].partition(",")[0] for row in faults if row["smallest"]}),
    "in the model": [*sensitivity.of_coherence(op, None, None, "cpu", None), *sensitivity.of_layers(op, "cpu", None)],
    "named": [named.id, named.stale],
    "generated": len(generated) > 9,
    "gates of mutants": sorted({"accuracy", "coherence"} & {*selection.gates(named)}),
    "soaked": [row["function"] for row in soaked["functions"] if row["error_ratio"] <= soak.LIMIT],
    "unprotected": sorted(name for name, what in files.items() if not what),
    "changed": changed.touched(["braidcheck/kernels/throw_away/kernel.py"]),
}))
"""
MUTANTS = """
import json
from dataclasses import replace

from braidcheck.mutants import generate, named_faults
from braidcheck.mutants.runner import Runner

(named,) = [mutant for mutant in named_faults.named() if mutant.ops == ("throw_away",)]
(constant,) = [mutant for mutant in generate.generated(["throw_away"]) if mutant.id.endswith("_kernel.constant.4")]
# As a generated one it meets the gates of ops alone, which need no model.
matrix = Runner("interpret").run([replace(named, kind="generated"), constant], workers=1)
print(json.dumps({row["id"]: row["outcome"] for row in matrix["mutants"]}))
"""
STATIC = """
import json
from braidcheck.static import configurations

print(json.dumps([[one.op, one.launch.kernel.__name__] for one in configurations.find(["throw_away"])]))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The folder of a copy of the package that has one op more."""
    folder = tmp_path_factory.mktemp("package")
    ignored = shutil.ignore_patterns("__pycache__", "nano", "nano_golden")
    shutil.copytree(PACKAGE, folder / "braidcheck", ignore=ignored)
    shutil.copytree(OP, folder / "braidcheck" / "kernels" / "throw_away")
    return folder


@pytest.fixture
def run(package, tmp_path):
    """Runs Python where the copy lies, in a process of its own; its output."""

    def run(*words, interpret=True):
        env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        env |= {"PYTHONPATH": str(package), "PYTHONSAFEPATH": "1", "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
        env |= {"TRITON_INTERPRET": "1"} if interpret else {}
        command = [sys.executable, *words]
        done = subprocess.run(command, env=env, cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_one_folder_is_all_that_is_added(package):
    def files(folder):
        paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}

    before, after = files(PACKAGE), files(package / "braidcheck")
    added = {name for name in after if after[name] != before.get(name)}
    assert added == {f"kernels/throw_away/{path.name}" for path in OP.iterdir() if path.is_file()}


def test_throw_away_op_passes_every_gate_of_ops(run, tmp_path):
    run("-m", "braidcheck", "gate", "--lane", "interpret", "--workers", "1", "--op", "throw_away", "-k", "not static")
    verdicts = json.loads((tmp_path / "braidcheck-out" / "run.json").read_text())["verdicts"]
    assert {verdict["gate"] for verdict in verdicts if verdict["status"] == "pass"} == set(GATES)
    assert [verdict["subject"] for verdict in verdicts if verdict["status"] != "pass"] == ["throw_away[large]"]
    (edges,) = [verdict for verdict in verdicts if verdict["gate"] == "edges"]
    assert edges["message"].startswith("4 contract checks")  # of every op, and its own


def test_throw_away_op_is_listed(run):
    ops = {op["name"]: op for op in json.loads(run("-m", "braidcheck", "list", "--json"))["ops"]}
    assert ops["throw_away"]["cases"][0]["id"] == "throw_away[bfloat16-unit-T5-H32]"


def test_throw_away_op_is_found_by_benchmarks_mutants_and_protection(run):
    assert json.loads(run("-c", FOUND_BY)) == {
        "series": "throw_away[small]",
        "baselines": ["eager", "torch.compile"],
        "eager is the op": True,
        "sensitivity": ["bfloat16", "float32"],
        "in the model": [],  # no model takes it
        "named": ["throw_away: three", ""],
        "generated": True,
        "gates of mutants": ["accuracy"],
        "soaked": ["kernel", "PyTorch baseline", "other blocks", "added"],
        "unprotected": ["__init__.py", "kernel.py"],
        "changed": ["throw_away"],
    }


def test_faults_of_throw_away_op_are_caught(run):
    outcomes = json.loads(run("-c", MUTANTS))
    assert outcomes.pop("unmutated") == "survived"
    assert list(outcomes.values()) == ["killed", "killed"]


def test_throw_away_op_is_compiled_ahead_of_time(run):
    assert json.loads(run("-c", STATIC, interpret=False)) == [["throw_away", "throw_away_kernel"]]
