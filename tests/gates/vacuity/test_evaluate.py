"""The vacuity gate: a wrong answer that no case tells from the truth fails the op."""

from braidcheck import kernels
from braidcheck.gates import vacuity
from braidcheck.gates.vacuity.measure import measure_vacuity
from braidcheck.result import Status


def test_one_answer_that_gets_through_fails_the_op():
    seen = [
        {"op": "x", "answer": "zeros", "caught_by": ["x[a]"]},
        {"op": "x", "answer": "without eps", "caught_by": []},
    ]
    assert vacuity.evaluate(seen[:1], "x").status == Status.PASS
    verdict = vacuity.evaluate(seen, "x")
    assert verdict.status == Status.FAIL
    assert verdict.message == "no case of x detects a wrong result: without eps"


def test_nothing_asked_is_nothing_shown():
    assert vacuity.evaluate([], "x").status == Status.FAIL


def test_without_its_tiny_rows_rms_norm_would_not_notice_a_missing_eps():
    from dataclasses import replace

    op = kernels.find()["rms_norm"]
    small = ("tiny", "range", "zero_rows", "subnormal")
    blind = replace(op, cases=tuple(case for case in op.cases if case.profile not in small))
    caught = {row["answer"]: row["caught_by"] for row in measure_vacuity(blind)}
    assert not caught["without eps"]
    assert caught["without weight"]
