"""The registry: what the project says of its gates, and a gate that one file and one line add."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from braidcheck.environment import PACKAGE
from braidcheck.gates import GATES, table

BEGIN, END = "<!-- gates: begin -->\n", "\n<!-- gates: end -->"
THROW_AWAY = """
from braidcheck.gates.gate import Gate
from braidcheck.result import Status, Verdict


def trial_checks(trial):
    yield "it", lambda: "caught"


GATE = Gate(
    name="throw_away",
    question="Is this gate found everywhere?",
    subjects=lambda settings: ["east", "west"],
    run=lambda settings, subjects, progress: [Verdict("throw_away", name, Status.PASS, "found") for name in subjects],
    per_op=True,
    runs_kernels=True,
    has_headroom=True,
    load_trial_checks=lambda: trial_checks,
)
"""
# What each consumer of the registry makes of the gate, as JSON.
FOUND_BY = """
import json
from pathlib import Path
from braidcheck import gates
from braidcheck.cli import overview, phases
from braidcheck.mutants import evaluate, selection
from braidcheck.report import failures
from braidcheck.settings import Settings

(phase,) = phases.phases_of(Settings("interpret", "out", kernels="."), 1, "")
print(json.dumps({
    "protect": "throw_away" in phase.gates,
    "mutants of an op": "throw_away" in selection.OF_OPS,
    "checks of a trial": [subject for subject, _ in evaluate.TRIAL_CHECKS["throw_away"](None)],
    "blame": "throw_away" in failures.PER_OP,
    "documentation": "| throw_away | Is this gate found everywhere? | CPU, GPU |" in gates.table().splitlines(),
}))
"""


def test_names_are_those_of_modules():
    assert {name: gate.name for name, gate in GATES.items()} == {name: name for name in GATES}
    assert all(gate.question.endswith("?") for gate in GATES.values())


def test_documentation_lists_the_gates():
    page = PACKAGE.parent / "docs" / "gates.md"
    if not page.is_file():
        pytest.skip("the installed package has no docs/")
    listed = page.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    assert listed == table(), "put what braidcheck.gates.table() gives between the markers of docs/gates.md"


# What a gate that cannot run, or not as others do, says for each of its subjects.
CHANGED = {
    "no_subjects": (
        ('lambda settings: ["east", "west"]', "lambda settings: 1 / 0"), {"every subject": "division by zero"}
    ),
    "stands_in": (("per_op=True", 'needs_gpu="no GPU", stand_in="all"'), {"all": "no GPU"}),
    "on_gpus": (("per_op=True", 'needs_gpu="no GPU"'), {"east": "no GPU", "west": "no GPU"}),
    "raises": (
        ("progress: [Verdict", "progress: 1 / 0 or [Verdict"), dict.fromkeys(("east", "west"), "division by zero")
    ),
    "at_once": (("per_op=True", "shared=True"), {"east": "found", "west": "found"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Runs Python where a copy of the package has more gates, each by one file and one line; its output."""
    folder = tmp_path_factory.mktemp("package")
    ignored = shutil.ignore_patterns("__pycache__", "nano", "nano_golden")
    gates = shutil.copytree(PACKAGE, folder / "braidcheck", ignore=ignored) / "gates"
    (gates / "throw_away.py").write_text(THROW_AWAY)
    for name, (change, _) in CHANGED.items():
        assert change[0] in THROW_AWAY
        (gates / f"{name}.py").write_text(THROW_AWAY.replace(*change).replace("throw_away", name))
    lines = "".join(f'    "{name}",\n' for name in ("accuracy", "throw_away", *CHANGED))
    registry = gates / "__init__.py"
    registry.write_text(registry.read_text().replace('    "accuracy",\n', lines))

    def run(*words, check=True):
        env = os.environ | {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1", "COLUMNS": "200"}
        command = [sys.executable, *words]
        return subprocess.run(command, env=env, cwd=folder, check=check, capture_output=True, text=True).stdout

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def evaluated(package):
    """A Run of the added gates, as JSON."""
    names = " or ".join(("throw_away", *CHANGED))
    package("-m", "braidcheck", "gate", "--lane", "interpret", "--workers", "1", "-k", names, check=False)
    return json.loads((package.folder / "braidcheck-out" / "run.json").read_text())


def messages(run, gate):
    return {verdict["subject"]: verdict["message"] for verdict in run["verdicts"] if verdict["gate"] == gate}


def test_one_file_and_one_line_add_a_gate_to_the_suite(evaluated):
    assert {"interpret/throw_away/east", "interpret/throw_away/west"} <= {*evaluated["expected"]}
    assert {verdict["gate"] for verdict in evaluated["verdicts"]} == {"throw_away", *CHANGED}
    assert messages(evaluated, "throw_away") == {"east": "found", "west": "found"}


@pytest.mark.parametrize("gate", CHANGED)
def test_gate_that_cannot_run_says_why_for_itself_alone(evaluated, gate):
    said, verdicts = messages(evaluated, gate), CHANGED[gate][1]
    assert said.keys() == verdicts.keys()
    assert all(verdicts[subject] in said[subject] for subject in said)


def test_one_file_and_one_line_add_a_gate_to_help_and_doctor(package):
    assert "throw_away: Is this gate found everywhere?" in package("-m", "braidcheck", "gate", "--help")
    assert "throw_away" in package("-m", "braidcheck", "doctor")


def test_one_file_and_one_line_add_a_gate_to_protection_mutants_and_reports(package):
    found = json.loads(package("-c", FOUND_BY))
    assert found == dict.fromkeys(found, True) | {"checks of a trial": ["it"]}
