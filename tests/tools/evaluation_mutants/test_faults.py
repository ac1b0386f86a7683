"""Mutants of evaluating code: what is generated, that the named ones apply, and that arguments name mutants."""

import ast

import pytest

from braidcheck.mutants.mutant import PACKAGE
from tools.evaluation_mutants import faults
from tools.evaluation_mutants.run import argued

SOURCE = '''"""A module."""
LIMIT = 1.5


class Reading(TypedDict):
    value: int = 3


@dataclass(frozen=True)
class Empty:
    pass


def check(values, limit=LIMIT):
    """Whether all are fine, at most 3."""
    if not values and limit > 0:
        raise ValueError(f"give {1 + 1} values")
    worst = max(abs(value) for value in values if value < 2)
    message = "fine" if worst else "bad"
    return Status.PASS if worst <= limit else Status.FAIL


def run(settings):
    return settings == 1
'''


@pytest.fixture
def made(tmp_path):
    (tmp_path / "check.py").write_text(SOURCE)
    return list(faults.mutants_of("check.py", tmp_path))


@pytest.mark.parametrize(
    ("operator", "line"),
    [
        ("constant", "LIMIT = 2.5"),
        ("drop-not", "if values and limit > 0:"),
        ("and-or", "if not values or limit > 0:"),
        ("drop-condition", "if limit > 0:"),
        ("boundary", "if not values and limit >= 0:"),
        ("negation", "if not values and limit <= 0:"),
        ("drop-branch", "if False:"),
        ("delete", "        pass"),
        ("function", "worst = min((abs(value) for value in values if value < 2))"),
        ("drop-call", "worst = max((value for value in values if value < 2))"),
        ("drop-filter", "worst = max((abs(value) for value in values))"),
        ("status", "return Status.FAIL if worst <= limit else Status.FAIL"),
        ("first-choice", "return Status.PASS"),
        ("return", "return None"),
        ("boundary", "return Status.PASS if worst < limit else Status.FAIL"),
    ],
)
def test_a_fault_of_each_kind_is_generated(made, operator, line):
    assert [one for one in made if one.id.split(".")[-2] == operator and f"{line}\n" in f"{one.text}\n"]


def test_text_and_what_measures_are_left_alone(made):
    for mutant in made:
        tree = ast.parse(mutant.text)
        assert ast.get_docstring(tree.body[4]) == "Whether all are fine, at most 3."
        assert "f'give {1 + 1} values'" in mutant.text or "{1 + 1}" in mutant.text or ".delete." in mutant.id
        assert "def run(settings):\n    return settings == 1\n" in mutant.text
        assert "value: int = 3" in mutant.text
        assert "@dataclass(frozen=True)" in mutant.text


def test_ids_are_unique_and_every_mutant_changes_something(made, tmp_path):
    assert len({mutant.id for mutant in made}) == len(made) > 20
    assert all(faults.diff(mutant, tmp_path) for mutant in made)
    assert {faults.changed_function(mutant, tmp_path) for mutant in made} == {"", "check"}


def test_every_named_fault_applies_and_has_a_sentence():
    named = faults.named()
    assert len({mutant.id for mutant in named}) == len(named) >= 100
    assert [f"{mutant.id}: {mutant.stale}" for mutant in named if mutant.stale] == []
    assert all(mutant.description and faults.diff(mutant) for mutant in named)


def test_evaluating_modules_are_found_and_generated_from():
    assert {"result.py", "gates/static.py", "golden/provenance.py", "numerics/error.py"} <= set(faults.files())
    assert all((PACKAGE / file).is_file() for file in faults.files())


def test_an_argument_names_a_mutant():
    known = {mutant.id for mutant in (*faults.generated(), *faults.named())}
    assert set(argued()) <= known
