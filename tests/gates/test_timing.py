"""The timing gate from plain data: what is a measurement, and what is refused."""

import copy
import math

import pytest

from braidcheck.gates import timing
from braidcheck.result import Status

SEEN = {
    "seconds": 1e-5, "low": 0.99e-5, "high": 1.02e-5, "kept": 14, "discarded": 1, "disturbed": False, "clock": 1980,
    "power": 400.0, "copies": 16, "cold": True, "bytes": 8_000_000, "flops": 10**9, "control": 4e-5,
}  # fmt: skip
LIMITS = {"copy": 4e12, "read": 4.2e12, "matrix": 7e14}


def evidence(**changed):
    return {"limits": dict(LIMITS), "control": "frozen", "series": {"op[a]": {**SEEN, **changed}}}


def evaluated(given):
    (verdict,) = timing.evaluate(given, names=("op[a]",))
    return verdict


def test_timing_reports_fraction_of_limits():
    verdict = evaluated(evidence())
    assert (verdict.status, verdict.unit, verdict.limit) == (Status.PASS, "us", None)
    assert verdict.value == pytest.approx(10)
    assert verdict.metrics["of_bandwidth"] == pytest.approx(8e11 / 4.2e12)
    assert verdict.metrics["of_gemm_peak"] == pytest.approx(1e14 / 7e14)
    assert verdict.metrics["control"] == pytest.approx(40)
    assert verdict.metrics["spread"] == pytest.approx({"low": 9.9, "high": 10.2})
    assert "19% of the measured bandwidth, 14% of the GEMM peak" in verdict.message


@pytest.mark.parametrize(("changed", "expected"), [({"bytes": 10**8}, "cached"), ({"flops": 10**10}, "left out")])
def test_faster_than_the_machine_is_refused(changed, expected):
    verdict = evaluated(evidence(**changed))
    assert verdict.status == Status.ERROR
    assert verdict.message.startswith("refused")
    assert expected in verdict.message


def test_what_was_not_measured_is_never_green():
    broken = []
    bad = (KeyError, None, math.nan, 0, -1, math.inf, "1", True, [])
    for where, key in [("series", key) for key in ("seconds", "bytes", "kept")] + [("limits", "matrix")]:
        for value in bad:
            given = copy.deepcopy(evidence())
            inner = given["limits"] if where == "limits" else given["series"]["op[a]"]
            inner.pop(key) if value is KeyError else inner.update({key: value})
            broken.append((key, value, evaluated(given).status))
    for given in (evidence(error="it died"), {}, {"reason": "no clocks"}, {"series": {}}, {"series": None}):
        broken.append(("whole", given, evaluated(given).status))
    for given in (
        evidence() | {"limits": {}},
        evidence() | {"limits": None},
        evidence() | {"limits": {"matrix": 7e14}},
    ):
        broken.append(("limits", given, evaluated(given).status))
    assert len(broken) == 4 * 9 + 5 + 3
    assert [row for row in broken if row[2] == Status.PASS] == []


def test_a_series_that_should_have_been_timed_is_an_error():
    """A skipped verdict would hide a kernel that was lost; without clocks nothing was asked."""
    for given in (evidence(error="it died"), {}, {"series": None}, evidence(seconds=0), evidence() | {"limits": {}}):
        assert evaluated(given).status == Status.ERROR
    verdict = evaluated({"reason": "no clocks"})
    assert (verdict.status, verdict.message) == (Status.SKIPPED, "no clocks")


@pytest.mark.parametrize(("ratio", "status"), [(1.0, Status.PASS), (1.029, Status.PASS), (1.031, Status.ERROR)])
@pytest.mark.parametrize(("count", "rate"), [("bytes", 4.2e12), ("flops", 7e14)])
def test_three_percent_above_the_measured_limit_are_believed(count, rate, ratio, status):
    verdict = evaluated(evidence(**{count: round(ratio * rate * SEEN["seconds"])}))
    assert verdict.status == status


def test_the_larger_of_the_two_bandwidths_is_the_limit():
    given = evidence()
    given["limits"] |= {"copy": 8e12, "read": 4e12}
    assert evaluated(given).metrics["of_bandwidth"] == pytest.approx(0.1)


def test_a_kernel_may_do_no_arithmetic_but_must_be_counted():
    assert evaluated(evidence(flops=0)).status == Status.PASS
    assert evaluated(evidence(flops=None)).status == Status.ERROR
    assert evaluated(evidence(kept=0)).status == Status.ERROR


def test_what_disturbed_and_what_was_kept_is_said():
    assert evaluated(evidence(disturbed=True)).message.endswith(", disturbed throughout")
    assert not evaluated(evidence()).message.endswith("disturbed throughout")
    metrics = evaluated(evidence()).metrics
    assert {key: metrics[key] for key in ("kept", "discarded", "clock", "power", "copies", "cold")} == {
        "kept": 14, "discarded": 1, "clock": 1980, "power": 400.0, "copies": 16, "cold": True,
    }  # fmt: skip
    assert metrics["control_name"] == "frozen"
    assert "control" not in evaluated(evidence(control=0)).metrics
