"""A small run from end to end: a caught fault, a planted survivor, a comment, a stale patch."""

import re
from dataclasses import replace

import pytest

from braidcheck import autosave
from braidcheck.gates import GATES
from braidcheck.gates.mutants import evaluate
from braidcheck.mutants import generate, selection
from braidcheck.mutants.mutant import PACKAGE, Mutant
from braidcheck.mutants.runner import Runner
from braidcheck.result import Status

WRAPPER, KERNEL = "kernels/cache_write/__init__.py", "kernels/cache_write/kernel.py"


def planted(name, file, old, new):
    before = (PACKAGE / file).read_text(encoding="utf-8")
    assert old in before
    return Mutant(name, "generated", "cache_write", "planted", file, ("cache_write",), before.replace(old, new))


@pytest.fixture(scope="module")
def matrix():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autosave, "INTERVAL_S", 0)
        # Every gate of ops meets mutants in tests/kernels/test_registry.py.
        patch.setattr(selection, "OF_OPS", ("accuracy", "calls"))
        yield run()


def run():
    caught = next(m for m in generate.generated(["cache_write"]) if m.id == "cache_write._cache_write.negation.1")
    survivor = planted("the hole", WRAPPER, "if num_tokens:", "if num_tokens > 0:")
    commented = planted("commented", KERNEL, "# [BLOCK_M, BLOCK_N]", "# one tile")
    stale = replace(survivor, id="old", text="", stale="its old text stands 0 times")
    elsewhere = replace(caught, id="elsewhere", lane="gpu")
    kept = []
    matrix = Runner("interpret", keep=kept.append).run([caught, survivor, commented, stale, elsewhere], workers=1)
    return {**matrix, "kept": kept}


def test_a_run_that_is_killed_leaves_what_it_had(matrix):
    assert [kept["missing"] for kept in matrix["kept"]] == [5, 4, 3, 2, 1, 0, 0]  # the last before witnesses are sought
    for unfinished in matrix["kept"][:-2]:
        assert 0 < len(unfinished["mutants"]) == 6 - unfinished["missing"]
        trials = next(verdict for verdict in evaluate([unfinished]) if verdict.subject.startswith("trials"))
        assert trials.status == Status.ERROR
        assert trials.message.startswith(f"{unfinished['missing']} trials are missing")


def test_what_became_of_each(matrix):
    found = {row["id"]: row["outcome"] for row in matrix["mutants"]}
    assert found.pop("unmutated") == "survived"
    assert list(found.values()) == ["killed", "survived", "survived", "stale", "survived"]
    assert matrix["mutants"][-1]["said"] == "not run: only the gpu lane can show it"


def test_the_survivor_lowers_the_score_and_the_stale_one_is_an_error(matrix):
    verdicts = {verdict.subject: verdict for verdict in evaluate([matrix])}
    assert verdicts["generated, interpret"].value == pytest.approx(1 / 4)
    assert verdicts["generated, interpret"].status == Status.FAIL
    assert verdicts["trials, interpret"].status == Status.ERROR


def test_a_survivor_says_whether_any_input_shows_it(matrix):
    witness = {row["id"]: row.get("witness", "") for row in matrix["mutants"]}
    assert witness["commented"].startswith("none found: the same bits on all ")
    assert not witness["elsewhere"]


def test_a_survivor_says_where_it_is_in_the_source(matrix):
    rows = {row["id"]: row for row in matrix["mutants"]}
    assert re.fullmatch(r"kernels/cache_write/\S+\.py:\d+", rows["the hole"]["place"])
    assert [line.split()[-2:] for line in rows["the hole"]["diff"]] == [["if", "num_tokens:"], [">", "0:"]]
    assert "diff" not in rows["cache_write._cache_write.negation.1"]


def test_every_gate_that_a_change_meets_meets_mutants():
    """But those that time a machine, and those that ask about the cases."""
    unmet = {gate.name for gate in GATES.values() if not gate.detects_mutants}
    assert unmet == {"vacuity", "paths", "targets", "timing", "paired", "speed", "speed_targets"}
