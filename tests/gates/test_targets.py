"""The requirements that need no clock, from plain data."""

import math

import pytest

from braidcheck import kernels
from braidcheck.gates import targets
from braidcheck.result import Status


def evaluated(check, *readings, nonfinite=0):
    reading = targets.TARGETS[check].reading
    outputs = [{reading: value, "nonfinite": nonfinite} for value in readings]
    return targets.evaluate([{"case": "x[a]", "outputs": outputs}], check)


@pytest.mark.parametrize(("check", "limit"), [("fused RMSNorm + QKV", 2.3e-5), ("fused attention", 1e-3)])
def test_worst_output_is_compared_with_requirement(check, limit):
    assert evaluated(check, limit / 2, limit / 3).status == Status.PASS
    verdict = evaluated(check, limit / 2, limit)
    assert verdict.status == Status.FAIL
    assert targets.TARGETS[check].requirement in verdict.message


def test_no_numbers_are_no_pass():
    check = targets.CHECKS[0]
    assert evaluated(check).status == Status.FAIL
    assert evaluated(check, 0.0, nonfinite=1).status == Status.FAIL
    assert evaluated(check, math.nan).status == Status.FAIL
    assert targets.evaluate([], check).status == Status.FAIL


@pytest.mark.parametrize("target", targets.TARGETS.values(), ids=targets.TARGETS)
def test_each_target_has_cases(target):
    found = [(case.profile, case.dtype) for case in kernels.find()[target.op].cases if not case.large]
    assert found.count((target.profile, target.dtype)) >= 2


def traffic(fused=30, between=19, launches=3):
    return {
        prompt: {"separate": {"norm": 40, "attention": 60}, "fused": fused, "between": between, "launches": launches}
        for prompt in ("512 tokens", "4096 tokens")
    }


@pytest.mark.parametrize(("between", "status"), [(19, Status.PASS), (20, Status.PASS), (21, Status.FAIL)])
def test_half_of_the_traffic_is_saved(between, status):
    given = traffic()
    given["4096 tokens"]["between"] = between
    verdict = targets.evaluate_traffic(given)
    assert (verdict.status, verdict.value) == (status, pytest.approx(0.7 - between / 100))
    assert verdict.message.endswith(f"{targets.TRAFFIC_REQUIREMENT!r}")


def test_traffic_that_was_not_counted_is_never_green():
    """Each count disabled in turn; nothing between the launches is a count, too."""
    broken = [{}, {"512 tokens": {}}]
    for key in ("separate", "norm", "fused", "between", "launches"):
        for value in (None, {}) if key == "separate" else (None, -1, math.nan, True, "1", *([0] * (key != "between"))):
            given = traffic()
            seen = given["4096 tokens"]
            (seen["separate"] if key == "norm" else seen)[key] = value
            broken.append(given)
        if key != "norm":
            broken.append(traffic())
            del broken[-1]["4096 tokens"][key]
    assert len(broken) == 2 + 2 + 6 + 6 + 5 + 6 + 4
    assert [given for given in broken if targets.evaluate_traffic(given).status != Status.FAIL] == []


def test_a_case_without_a_result_is_a_failure_beside_good_ones():
    check = targets.CHECKS[0]
    good = {"case": "x[good]", "outputs": [{targets.TARGETS[check].reading: 0.0, "nonfinite": 0}]}
    assert targets.evaluate([good, good], check).status == Status.PASS
    verdict = targets.evaluate([good, {"case": "x[silent]", "outputs": []}], check)
    assert verdict.status == Status.FAIL
    assert math.isnan(verdict.value)
    assert verdict.message.startswith("x[silent] gave no result")


@pytest.mark.parametrize("phase", ["norm", "attention"])
def test_a_phase_that_moved_nothing_was_not_counted(phase):
    given = traffic()
    given["512 tokens"]["separate"][phase] = 0
    assert math.isnan(targets.evaluate_traffic(given).value)
