"""``braidcheck bench``: what it asks for, prints and writes, with measuring itself left out."""

import json

import pytest

from braidcheck import environment

RATE = {"median": 2000.0, "low": 1900.0, "high": 2100.0}


def decoded(settings, **changed):
    place = {"subject": "braidcheck", "bytes": 1_000_000, "roofline": 4000.0}
    rows = [
        place | {"batch": one.batch, "context": one.context} | (changed or {"rate": RATE, "of_roofline": 0.5})
        for one in settings
    ]
    return {"device": "a GPU", "copy_bandwidth": 4e12, "samples": 5, "tokens": 32, "rows": rows}


@pytest.fixture
def asked(monkeypatch):
    """A GPU that is not there, and what its measurements were asked for."""
    from braidcheck.benchmarks import decode, ops, prefill, profile

    calls = []

    def answers(name, make):
        def measure(*given):
            calls.append((name, *given[:-1]))
            return make(*given)

        return measure

    limits = {"copy": 4e12, "read": 4e12, "matrix": 7e14}
    subject = {"seconds": 1e-5, "low": 1e-5, "high": 1e-5, "kept": 5}
    series = {"rms_norm[x]": {"bytes": 10**6, "flops": 10**6, "subjects": {"braidcheck": subject}}}
    step = {"median": 300.0, "low": 299.0, "high": 301.0}
    phase = {"op": "lm_head", "kernel": "_lm_head", "launches": 1.0, "microseconds": 90.0}
    monkeypatch.setattr(environment, "why_no_gpu", lambda: "")
    monkeypatch.setattr(decode, "measure_decode", answers("decode", lambda settings, *_: decoded(settings)))
    monkeypatch.setattr(
        ops, "measure_ops", answers("ops", lambda *_: {"device": "a GPU", "limits": limits, "series": series})
    )
    seen = {
        "device": "a GPU",
        "batch": 1,
        "context": 512,
        "step": step,
        "roofline": 280.0,
        "serial": False,
        "rows": [phase],
    }
    monkeypatch.setattr(profile, "measure_phases", answers("phases", lambda *_: seen))
    row = {"tokens": 512, "subject": "braidcheck", "rate": RATE, "of_gemm_peak": 0.5}
    filled = {"device": "a GPU", "gemm_peak": 7e14, "samples": 5, "rows": [row]}
    monkeypatch.setattr(prefill, "measure_prefill", answers("prefill", lambda *_: filled))
    return calls


def test_without_a_gpu_it_says_so_in_one_line(refused, no_gpu):
    for words in ([], ["rms_norm"], ["decode", "--baselines"], ["prefill"], ["decode", "--phases"]):
        refused(3, "timings need a GPU: no GPU that torch", "bench", *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nope"], "no op 'nope'; one of attention_decode, "),
        (["decode", "--context", "0"], "See: braidcheck bench decode --help"),
        (["decode", "surplus"], "See: braidcheck bench decode --help"),
        (["--no-such"], "See: braidcheck bench ops --help"),
    ],
)
def test_mistakes_are_one_line(refused, no_gpu, words, says):
    refused(2, says, "bench", *words)


def test_decode_is_asked_for_all_its_contexts_or_those_given(run, asked):
    from braidcheck.benchmarks.decode import SETTINGS, Setting

    completed = run("bench", "decode", "--baselines")
    assert completed.code == 0
    assert "the roofline: 1 MB a step" in completed.out
    run("bench", "decode", "--batch", "16", "--context", "512", "--context", "1024")
    run("bench", "decode", "--batch", "4")
    assert asked == [
        ("decode", SETTINGS, "cuda", True, False),
        ("decode", (Setting(16, 512), Setting(16, 1024)), "cuda", False, True),
        ("decode", (Setting(4, 512),), "cuda", False, True),
    ]


def test_phases_need_one_context_without_baselines(run, refused, asked):
    from braidcheck.benchmarks.decode import Setting

    assert "_lm_head" in run("bench", "decode", "--phases", "--context", "2048").out
    assert asked == [("phases", Setting(1, 2048), "cuda")]
    refused(2, "--phases shows braidcheck at one context", "bench", "decode", "--phases", "--baselines")
    refused(
        2, "--phases shows braidcheck at one context", "bench", "decode", "--phases", "--batch", "1", "--batch", "2"
    )


def test_ops_need_no_command_of_their_own(run, asked):
    for words in (["rms_norm", "lm_head", "--baselines"], ["ops", "rms_norm", "lm_head", "--baselines"]):
        assert "rms_norm[x]" in run("bench", *words).out
        name, found, with_baselines = asked.pop()
        assert (name, list(found), with_baselines) == ("ops", ["rms_norm", "lm_head"], True)
    run("bench")
    assert len(asked.pop()[1]) > 10


def test_json_has_rows_and_environment(run, asked, tmp_path):
    completed = run("bench", "decode", "--context", "512", "--json", "--save", tmp_path / "decode.json")
    body = json.loads(completed.out)
    assert json.loads((tmp_path / "decode.json").read_text()) == body
    assert body["bench"] == "decode"
    assert body["environment"]["libraries"]["torch"]
    assert body["copy_bandwidth"] == 4e12
    assert body["rows"][0]["rate"] == RATE
    ops = json.loads(run("bench", "rms_norm", "--json").out)
    assert ops["rows"][0]["us"] == pytest.approx(10)
    assert ops["limits"]["matrix"] == 7e14
    prefill = json.loads(run("bench", "prefill", "--tokens", "512", "--json").out)
    assert (prefill["bench"], prefill["rows"][0]["tokens"]) == ("prefill", 512)


def test_missing_braidcheck_timing_is_failure(run, refused, asked, monkeypatch):
    from braidcheck.benchmarks import decode, ops

    monkeypatch.setattr(decode, "measure_decode", lambda settings, *_: decoded(settings, refused="it is another model"))
    completed = run("bench", "decode", "--context", "512")
    assert completed.code == 1
    assert "refused: it is another model" in completed.out
    monkeypatch.setattr(ops, "measure_ops", lambda *_: {"reason": "the clocks cannot be read: install nvidia-ml-py"})
    refused(3, "nothing can be timed here: the clocks cannot be read", "bench", "rms_norm")
