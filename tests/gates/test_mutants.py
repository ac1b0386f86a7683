"""The mutants gate on plain rows: scores, floors, what is stale, what is no mutant at all."""

import pytest

from braidcheck.gates.mutants import evaluate, merged, score, settled, survivors
from braidcheck.result import Run, Status


def row(name, outcome="killed", kind="named", **more):
    return {"id": name, "kind": kind, "outcome": outcome, "gate": "accuracy", "subject": "a case", "said": "no", **more}


def matrix(*rows, lane="interpret"):
    return {"lane": lane, "seconds": 1.0, "mutants": [row("unmutated", "survived", "control"), *rows]}


def verdict(subject, *matrices):
    return next(v for v in evaluate(matrices) if v.subject == subject)


def many(count, kind="named", outcome="killed"):
    return [row(f"{kind} {number}", outcome, kind) for number in range(count)]


def test_all_caught_passes():
    verdicts = evaluate([matrix(*many(20), *many(30, "generated"))])
    assert {v.status for v in verdicts} == {Status.PASS}
    assert verdict("named, interpret", matrix(*many(20))).value == 1


@pytest.mark.parametrize("outcome", ["crash", "timeout"])
def test_a_crash_and_a_timeout_count_as_caught(outcome):
    assert verdict("named, interpret", matrix(*many(4, outcome=outcome))).value == 1


def test_a_planted_survivor_lowers_the_score_and_is_named():
    one = verdict("named, interpret", matrix(*many(19), row("the hole", "survived")))
    assert (one.status, one.value) == (Status.PASS, 0.95)
    two = verdict("named, interpret", matrix(*many(18), row("the hole", "survived"), row("another", "survived")))
    assert (two.status, two.value) == (Status.FAIL, 0.9)
    assert "the hole" in two.message
    assert Run({}, (), (two,)).exit_code == 1


@pytest.mark.parametrize("outcome", ["stale", "error"])
def test_what_could_not_be_tried_is_an_error(outcome):
    found = verdict("trials, interpret", matrix(*many(3), row("old", outcome, said="stands 0 times")))
    assert found.status == Status.ERROR
    assert f"old is {outcome}: stands 0 times" in found.message
    assert Run({}, (), evaluate([matrix(*many(3), row("old", outcome))])).exit_code == 3


def test_a_false_alarm_is_an_error():
    rows = {"lane": "interpret", "seconds": 1.0, "mutants": [row("unmutated", "killed", "control"), *many(3)]}
    assert "fails the unmutated package" in verdict("trials, interpret", rows).message


def test_equivalents_that_are_argued_do_not_count():
    rows = [*many(8, "generated"), row("a", "survived", "generated", equivalent="so")]
    assert score(rows) == (8, 8)
    assert survivors(rows) == []


def test_an_equivalent_that_a_gate_catches_is_an_error():
    found = verdict("trials, interpret", matrix(*many(9, "generated"), row("a", kind="generated", equivalent="so")))
    assert found.status == Status.ERROR
    assert "unlist it" in found.message


def test_too_many_equivalents_fail():
    rows = [*many(10, "generated"), row("a", "survived", "generated", equivalent="so")]
    assert verdict("equivalents, interpret", matrix(*rows)).status == Status.FAIL


def test_over_all_lanes_a_mutant_is_caught_if_one_lane_catches_it():
    cpu = matrix(*many(19), row("TF32", "survived"))
    gpu = matrix(*many(19), row("TF32"), lane="gpu")
    assert verdict("named, all lanes", cpu, gpu).status == Status.PASS
    assert survivors(merged([cpu, gpu])) == ["unmutated"]
    assert verdict("named, all lanes", cpu, cpu).status == Status.FAIL


def test_partial_lane_has_no_score():
    cpu = matrix(*many(19, "generated"), row("hole", "survived", "generated"))
    gpu = matrix(row("hole", "survived", "generated"), lane="gpu") | {"left_out": 19}
    assert settled([cpu, gpu]) == {f"generated {n}" for n in range(19)}
    subjects = [v.subject for v in evaluate([cpu, gpu])]
    assert "generated, interpret" in subjects
    assert "generated, gpu" not in subjects
    assert verdict("generated, all lanes", cpu, gpu).value == 0.95


@pytest.mark.parametrize(
    ("ops", "suspects", "right"),
    [
        (["a"], ["a"], True),
        (["a", "b"], ["b"], True),
        (["a"], ["a", "b"], False),
        (["a"], [], False),
        ([], [], True),
        ([], ["a"], False),
    ],
)
def test_blame_is_right_where_it_falls_on_the_faults_own_ops(ops, suspects, right):
    rows = [row("one", ops=ops, blame={"ops": suspects}), row("two", "survived")]
    (found,) = [v for v in evaluate([matrix(*rows) | {"blame": True}]) if v.subject.startswith("blame")]
    assert found.status == (Status.PASS if right else Status.FAIL)
    assert found.metrics["reached"] == 1


def test_blame_that_found_nothing_is_wrong():
    lost = matrix(row("one", ops=[], blame={})) | {"blame": True}
    assert verdict("blame, interpret", lost).status == Status.FAIL


def test_a_run_that_did_not_end_is_an_error():
    whole, cut = matrix(*many(3)), matrix(*many(3)) | {"missing": 2}
    assert verdict("trials, interpret", whole).status == Status.PASS
    found = verdict("trials, interpret", cut)
    assert found.status == Status.ERROR
    assert found.message == "2 trials are missing: the run did not end"


def test_one_lane_has_no_score_over_all_and_two_have():
    assert not [v.subject for v in evaluate([matrix(*many(3))]) if "all lanes" in v.subject]
    two = [matrix(*many(3)), matrix(*many(3), lane="gpu")]
    assert [v.subject for v in evaluate(two) if "all lanes" in v.subject] == ["named, all lanes"]


def test_no_unsound_trial_is_allowed():
    found = verdict("trials, interpret", matrix(row("old", "stale")))
    assert (found.value, found.limit) == (1.0, 0.0)


def test_blame_that_no_mutant_reached_is_a_failure():
    found = verdict("blame, interpret", matrix(row("one", ops=["a"])) | {"blame": True})
    assert (found.status, found.value, found.metrics["reached"]) == (Status.FAIL, 0.0, 0)


@pytest.mark.parametrize(("survived", "status"), [(5, Status.PASS), (6, Status.FAIL)])
def test_over_all_lanes_one_in_twenty_generated_mutants_may_survive(survived, status):
    rows = [*many(100 - survived, "generated"), *(row(f"s{n}", "survived", "generated") for n in range(survived))]
    assert verdict("generated, all lanes", matrix(*rows), matrix(*rows, lane="gpu")).status == status
