"""The speed requirements from plain data."""

import math

import pytest

from braidcheck.gates import speed_targets
from braidcheck.result import Status


def evidence(ratio=1.0, candidate=1e-4, peak=4e12):
    """Every comparison with ``candidate`` and comparators that take ``ratio`` times as long."""
    comparisons = {}
    for target in speed_targets.TARGETS.values():
        seconds = comparisons.setdefault(target.comparison, {"seconds": {}, "errors": {}, "bytes": 8_400_000})[
            "seconds"
        ]
        seconds[target.candidate] = [candidate] * 5
        if target.baseline:
            seconds[target.baseline] = [candidate * ratio] * 5
    return {"limits": {"copy": peak, "read": peak}, "comparisons": comparisons}


def statuses(given):
    return {verdict.subject: verdict.status for verdict in speed_targets.evaluate(given)}


def test_each_target_quotes_its_requirement():
    assert set(statuses(evidence(ratio=3.0)).values()) == {"pass"}
    slow = statuses(evidence(ratio=0.5, candidate=1e-3, peak=4e12))
    assert slow.pop("fused RMSNorm + QKV: bandwidth") == "fail"  # 8.4 GB/s
    assert set(slow.values()) == {"fail"}
    for verdict in speed_targets.evaluate(evidence()):
        assert speed_targets.TARGETS[verdict.subject].requirement in verdict.message


@pytest.mark.parametrize(
    ("check", "reached", "missed"),
    [
        ("RMSNorm overhead[1 token]", 1 / 1.049, 1 / 1.051),
        ("QKV + RoPE[1 token]", 1 / 1.099, 1 / 1.101),
        ("whole path[4096 tokens]", 1 / 1.099, 1 / 1.101),
        ("RMSNorm[512 tokens]", 2.2, 2.18),
        ("fused attention[512 tokens]", 2.01, 1.99),
        ("fused RMSNorm + QKV[896 wide]", 2.65, 2.63),
        ("fused RMSNorm + QKV[1024 wide]", 1.48, 1.46),
        ("fused RMSNorm + QKV: time saved", 1.31, 1.30),  # 28 x 100 us x 0.304 is 0.85 ms
    ],
)
def test_thresholds(check, reached, missed):
    assert statuses(evidence(ratio=reached))[check] == Status.PASS
    assert statuses(evidence(ratio=missed))[check] == Status.FAIL


def test_a_floor_in_bandwidth_holds_where_the_machine_has_it():
    def evaluated(peak):
        return next(v for v in speed_targets.evaluate(evidence(3.0, peak=peak)) if v.subject.endswith("bandwidth"))

    assert evaluated(51.8e9).status == Status.PASS  # 84 GB/s were measured
    below = evaluated(51.6e9)
    assert below.status == Status.SKIPPED
    assert below.message == "51.7 GB/s are required, the bandwidth here is 51.6 GB/s: above this GPU's roofline"
    for peak in (None, 0.0, math.nan, math.inf, "fast"):
        assert "was not measured" in evaluated(peak).message


def test_requirement_above_machine_limit_is_skipped():
    assert statuses(evidence(ratio=3.0, candidate=1e-6))["fused RMSNorm + QKV: time saved"] == Status.SKIPPED


def test_rounds_that_disagree_are_inconclusive():
    given = evidence(ratio=3.0)
    given["comparisons"]["RMSNorm[1 token]"]["seconds"]["eager"][0] = 1e-4
    assert statuses(given)["RMSNorm[1 token]"] == Status.INCONCLUSIVE


def test_what_was_not_measured_is_never_green():
    broken = []
    for check, target in speed_targets.TARGETS.items():
        for who in filter(None, (target.candidate, target.baseline)):
            for value in (None, [], [math.nan] * 5, [0.0] * 5, [math.inf] * 5, [1e-4] * 4 + [None]):
                given = evidence(ratio=3.0)
                given["comparisons"][target.comparison]["seconds"][who] = value
                broken.append((check, who, statuses(given)[check]))
            given = evidence(ratio=3.0)
            del given["comparisons"][target.comparison]["seconds"][who]
            broken.append((check, who, statuses(given)[check]))
            given["comparisons"][target.comparison]["errors"][who] = "it died"
            broken.append((check, who, statuses(given)[check]))
        given = evidence(ratio=3.0)
        del given["comparisons"][target.comparison]
        broken.append((check, "race", statuses(given)[check]))
    for given in ({}, {"comparisons": None}, {"reason": "no clocks"}):
        broken += [(check, "whole", status) for check, status in statuses(given).items()]
    assert len(broken) > 300
    assert [row for row in broken if row[2] == Status.PASS] == []


@pytest.mark.parametrize("limits", [{}, {"limits": None}])
def test_a_floor_without_a_measured_bandwidth_is_skipped(limits):
    given = {"comparisons": evidence(3.0)["comparisons"], **limits}
    found = next(verdict for verdict in speed_targets.evaluate(given) if verdict.subject.endswith("bandwidth"))
    assert (found.status, "was not measured" in found.message) == (Status.SKIPPED, True)


def test_evidence_without_limits_of_the_machine_is_evaluated():
    given = evidence(ratio=3.0)
    del given["limits"]
    assert set(statuses(given).values()) == {"pass", "skipped"}  # of those that ask for bandwidth nothing is known


def test_who_did_not_run_is_named_with_its_error():
    target = speed_targets.TARGETS["RMSNorm[1 token]"]
    for who, status in ((target.candidate, Status.ERROR), (target.baseline, Status.SKIPPED)):
        given = evidence(ratio=3.0)
        given["comparisons"][target.comparison]["errors"][who] = "it died"
        found = next(verdict for verdict in speed_targets.evaluate(given) if verdict.subject == "RMSNorm[1 token]")
        assert (found.status, found.message) == (status, f"{who} did not run: it died")
