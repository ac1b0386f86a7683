"""The speed gate from plain data."""

from braidcheck.gates import speed
from braidcheck.results import Status


def judged(decode=600.0, low=590.0, hf=60.0, prefill=60e3, hf_prefill=30e3):
    seen = {
        "device": "some GPU", "decode": {"median": decode, "low": low, "high": 610.0}, "hf_decode": {"median": hf},
        "prefill": {"median": prefill, "low": prefill, "high": prefill}, "hf_prefill": {"median": hf_prefill},
    }  # fmt: skip
    verdicts = speed.judge(seen, "gpu")
    assert tuple(verdict.subject for verdict in verdicts) == speed.CHECKS
    return {verdict.subject.split(": ")[1]: verdict for verdict in verdicts}


def test_faster_than_hf_and_the_floors_passes():
    assert {verdict.status for verdict in judged().values()} == {Status.PASS}


def test_each_target_fails_by_itself():
    failed = lambda **seen: [name for name, v in judged(**seen).items() if v.status == Status.FAIL]  # noqa: E731
    assert failed(hf=601.0) == ["decode next to HF"]
    assert failed(hf_prefill=61e3) == ["prefill next to HF"]
    assert failed(low=199.0) == ["decode 200 tok/s"]
    assert failed(low=85.0) == ["decode 85.8 tok/s", "decode 200 tok/s"]
    assert failed(low=79.0) == ["decode 80 tok/s", "decode 85.8 tok/s", "decode 200 tok/s"]


def test_a_comparator_that_was_not_measured_does_not_pass():
    assert judged(hf=0.0)["decode next to HF"].status == Status.FAIL


def test_the_sentence_says_both_rates():
    assert (
        judged(low=150.0)["decode 200 tok/s"].sentence == "decode runs at 150 tok/s, below the documents' floor of 200"
    )
    assert judged()["decode next to HF"].sentence == (
        "decode runs at 600 tok/s, no less than HF generate's 60 in the same run"
    )


def test_without_a_gpu_nothing_is_judged():
    assert [verdict.status for verdict in speed.judge(None)] == [Status.NOT_JUDGED]
