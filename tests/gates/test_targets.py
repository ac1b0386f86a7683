"""The documents' accuracy targets from plain data."""

import math

import pytest

from braidcheck import kernels
from braidcheck.gates import targets
from braidcheck.results import Status


def judged(check, *readings, nonfinite=0):
    reading = targets.TARGETS[check].reading
    outputs = [{reading: value, "nonfinite": nonfinite} for value in readings]
    return targets.judge([{"case": "x[a]", "outputs": outputs}], check)


@pytest.mark.parametrize(("check", "limit"), [("fused RMSNorm + QKV", 2.3e-5), ("fused attention", 1e-3)])
def test_the_worst_output_is_held_against_the_sentence(check, limit):
    assert judged(check, limit / 2, limit / 3).status == Status.PASS
    verdict = judged(check, limit / 2, limit)
    assert verdict.status == Status.FAIL
    assert targets.TARGETS[check].sentence in verdict.sentence


def test_no_numbers_are_no_pass():
    check = targets.CHECKS[0]
    assert judged(check).status == Status.FAIL
    assert judged(check, 0.0, nonfinite=1).status == Status.FAIL
    assert judged(check, math.nan).status == Status.FAIL
    assert targets.judge([], check).status == Status.FAIL


@pytest.mark.parametrize("target", targets.TARGETS.values(), ids=targets.TARGETS)
def test_there_are_cases_to_judge_it_on(target):
    found = [(case.profile, case.dtype) for case in kernels.find()[target.op].cases if not case.large]
    assert found.count((target.profile, target.dtype)) >= 2
