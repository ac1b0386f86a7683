"""The speed gate from plain data."""

import copy
import itertools
import math

import pytest

from braidcheck.gates import speed
from braidcheck.result import Status

READ = 1_192_000_000  # bytes of weights a token: Qwen3-0.6B's in bfloat16
FLOORS = ("decode 80 tok/s", "decode 85.8 tok/s", "decode 200 tok/s")
PASS, FAIL, ERROR, SKIPPED = Status.PASS, Status.FAIL, Status.ERROR, Status.SKIPPED


def evidence(decode=600.0, low=590.0, hf=60.0, prefill=60e3, hf_prefill=30e3, bandwidth=4e12):
    return {
        "device": "some GPU", "copy_bandwidth": bandwidth, "read_bytes": READ,
        "decode": {"median": decode, "low": low, "high": 610.0}, "hf_decode": {"median": hf},
        "prefill": {"median": prefill, "low": prefill, "high": prefill}, "hf_prefill": {"median": hf_prefill},
    }  # fmt: skip


def of(given):
    verdicts = speed.evaluate(given, "gpu")
    assert tuple(verdict.subject for verdict in verdicts) == speed.CHECKS
    return {verdict.subject.split(": ")[1]: verdict for verdict in verdicts}


def evaluated(**seen):
    return of(evidence(**seen))


def test_faster_than_hf_and_the_floors_passes():
    assert {verdict.status for verdict in evaluated().values()} == {PASS}


def test_each_target_fails_by_itself():
    failed = lambda **seen: [name for name, v in evaluated(**seen).items() if v.status == FAIL]  # noqa: E731
    assert failed(hf=601.0) == ["decode next to HF"]
    assert failed(hf_prefill=61e3) == ["prefill next to HF"]
    assert failed(low=199.0) == ["decode 200 tok/s"]
    assert failed(low=85.0) == ["decode 85.8 tok/s", "decode 200 tok/s"]
    assert failed(low=79.0) == ["decode 80 tok/s", "decode 85.8 tok/s", "decode 200 tok/s"]


@pytest.mark.parametrize("floor", [80.0, 85.8, 200.0])
@pytest.mark.parametrize("low", [1.0, 590.0])
def test_a_floor_holds_where_the_weights_can_be_read_that_often(floor, low):
    """At 200 tok/s Qwen3-0.6B's weights are 238 GB/s."""
    name = f"decode {floor:g} tok/s"
    assert evaluated(low=low, bandwidth=1.001 * floor * READ)[name].status == (PASS if low >= floor else FAIL)
    verdict = evaluated(low=low, bandwidth=0.999 * floor * READ)[name]
    assert verdict.status == SKIPPED
    assert f"{floor:g} tok/s read {floor * READ / 1e9:,.1f} GB/s of weights" in verdict.message
    assert f"measured here is {0.999 * floor * READ / 1e9:,.1f} GB/s" in verdict.message


def test_a_slow_machine_is_still_held_against_hf():
    verdicts = evaluated(bandwidth=50e9)
    assert {name for name, verdict in verdicts.items() if verdict.status == SKIPPED} == set(FLOORS)
    assert {verdict.status for verdict in verdicts.values()} == {PASS, SKIPPED}


def test_message_has_both_rates():
    assert evaluated(low=150.0)["decode 200 tok/s"].message == "decode runs at 150 tok/s, below the required 200"
    assert evaluated()["decode next to HF"].message == (
        "decode runs at 600 tok/s, no less than HF generate's 60 in the same run"
    )


NEEDED = {  # by check, which readings it rests on
    "decode next to HF": (("decode", "median"), ("hf_decode", "median")),
    "prefill next to HF": (("prefill", "median"), ("hf_prefill", "median")),
} | dict.fromkeys(FLOORS, (("decode", "low"), ("copy_bandwidth",), ("read_bytes",)))
BAD = (KeyError, None, 0.0, -1.0, math.nan, math.inf, "600", True, [])


def test_what_was_not_measured_is_never_green():
    """Each reading disabled in turn, in every way: exactly the checks that rest on it are in error."""
    paths = {path[:length] for needed in NEEDED.values() for path in needed for length in (1, len(path))}
    lost = 0
    for path, value in itertools.product(sorted(paths), BAD):
        given = copy.deepcopy(evidence())
        inner = given[path[0]] if path[1:] else given
        inner.pop(path[-1]) if value is KeyError else inner.update({path[-1]: value})
        for name, verdict in of(given).items():
            rests = any(needed[: len(path)] == path for needed in NEEDED[name])
            assert verdict.status == (ERROR if rests else PASS), (path, value, name)
            lost += rests
    assert lost == len(BAD) * (2 * 3 + 4 + 3 + 1 + 3 * 2)
    assert {verdict.status for verdict in of({}).values()} == {ERROR}


def test_a_rate_is_held_against_a_minimum_in_tokens_per_second():
    for verdict in evaluated().values():
        assert (verdict.higher_is_better, verdict.unit) == (True, "tok/s")
        assert verdict.limit_fraction < 1
