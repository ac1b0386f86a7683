"""Runs made by hand: a broken one, a green one, and one whose every text is hostile."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from braidcheck.result import Run, Status, Verdict

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>|`'\"&@all ]]> {{7*7}} \x00\n::error::x"


def make_verdict(gate, subject, status=Status.PASS, message="said", **more):
    return Verdict(gate, subject, status, message, **{"lane": "interpret"} | more)


def make_accuracy_verdict(op, case, value, status=Status.PASS, **more):
    message = f"{op} is {value} times its bound"
    metrics = {"value": value, "limit": 1.0, "unit": "error ratio"}
    return make_verdict("accuracy", f"{op}[{case}]", status, message, **metrics, **more)


@pytest.fixture
def verdict():
    """Makes a verdict."""
    return make_verdict


@pytest.fixture
def accuracy_verdict():
    """Makes the accuracy verdict of an op's case."""
    return make_accuracy_verdict


@pytest.fixture
def broken():
    """A Run with a broken op, two checks that broke in the same way, a lost verdict and things skipped."""
    environment = {
        "commit": "abc",
        "seconds": 12.3,
        "libraries": {"torch": "2", "triton": ""},
        "gpus": [{"name": "G", "memory": 8}],
    }
    left = {"metrics": {"subjects": ["1", "2"]}}
    verdicts = (
        make_accuracy_verdict("fine", "a", 0.25),
        make_accuracy_verdict("fine", "b", 0.5),
        make_verdict("accuracy", "fine[large]", Status.SKIPPED, "large cases need a GPU", **left),
        make_accuracy_verdict("qkv_rope", "a", 0.5),
        make_accuracy_verdict(
            "qkv_rope", "b", 9.0, Status.FAIL, reproduce="braidcheck gate --op qkv_rope -k 'qkv_rope[b]'"
        ),
        make_accuracy_verdict(
            "qkv_rope", "c", 5.0, Status.FAIL, reproduce="braidcheck gate --op qkv_rope -k 'qkv_rope[c]'"
        ),
        make_verdict("coherence", "nano: kl", Status.ERROR, "it broke", reproduce="braidcheck gate -k kl"),
        make_verdict("coherence", "nano: nll", Status.ERROR, "it broke", reproduce="braidcheck gate -k nll"),
        make_verdict("coherence", "nano: recall", value=1.0, limit=0.99, higher_is_better=True, unit="of a|b"),
        make_verdict("layers", "0.6B: layer 0 decode"),
        make_verdict("layers", "0.6B: layer 1 decode"),
    )
    return Run(environment, ("interpret/accuracy/lost",), verdicts)


@pytest.fixture
def green():
    """A Run in which all is well."""
    return Run({"commit": "abc"}, (), (make_accuracy_verdict("fine", "a", 0.25), make_verdict("coherence", "nano: kl")))


@pytest.fixture
def hostile():
    """A Run whose every text would be markup, if it were let."""
    environment = {"commit": HOSTILE, "libraries": {HOSTILE: HOSTILE}, "gpus": [{"name": HOSTILE}], "driver": HOSTILE}
    environment |= {"started": "2026-01-01T00:00:00+00:00", "hardware": HOSTILE, HOSTILE: HOSTILE}
    texts = {"lane": HOSTILE, "unit": HOSTILE, "reproduce": HOSTILE, "value": 2.0, "limit": 1.0}
    metrics = {"blame": {"ops": [HOSTILE], "layers": [HOSTILE]}, "traceback": HOSTILE, "subjects": [HOSTILE]}
    verdicts = (
        Verdict("accuracy", HOSTILE, Status.FAIL, HOSTILE, metrics=metrics, **texts),
        Verdict(HOSTILE, HOSTILE, Status.SKIPPED, HOSTILE, lane=HOSTILE),
        Verdict("speed", f"{HOSTILE} tok/s", Status.PASS, HOSTILE, **texts | {"unit": "tok/s"}),
        Verdict("coherence", f"{HOSTILE}: position", Status.PASS, HOSTILE, metrics={HOSTILE: {"nll": 1.0}}),
    )
    return Run(json.loads(json.dumps(environment)), (HOSTILE,), verdicts)


@pytest.fixture
def matrix():
    """A kill matrix of three faults, one of which survives."""
    rows = [
        {"id": "qkv_rope: K with Q's norm", "kind": "named", "part": "qkv_rope", "outcome": "killed"},
        {"id": HOSTILE, "kind": "named", "part": HOSTILE, "outcome": "survived", "description": HOSTILE},
        {"id": "qkv_rope: < for <=", "kind": "generated", "part": "qkv_rope", "outcome": "crash"},
    ]
    empty = {"gate": "accuracy", "subject": "", "said": "", "seconds": 1.0, "description": "told"}
    return {"lane": "interpret", "seconds": 3.0, "mutants": [empty | row for row in rows]}


def make_nights(series, nights, text="deadbeef", faster=(), slower=()):
    """Runs of a year: ``series`` timings and a coherence check a night, some with a change of 4% on night 100."""
    random = np.random.default_rng(0)
    start = datetime(2026, 1, 1, 2, 17, tzinfo=UTC)
    made = []
    for night in range(nights):
        verdicts = [
            make_verdict(
                "timing",
                f"op{one}[512 tokens]",
                value=float((5 + one) * np.exp(0.004 * random.normal()) * _factor(one, night, faster, slower)),
                unit="us",
                lane="gpu",
                metrics={"control": float(20 * np.exp(0.004 * random.normal()))},
            )
            for one in range(series)
        ]
        check = make_verdict("coherence", "nano: kl", value=0.5 + 0.01 * random.normal(), limit=1.5, unit="x")
        environment = {"started": (start + timedelta(days=night)).isoformat(), "commit": f"{night:04d}{text}"}
        made.append(Run(environment | {"hardware": "one GPU"}, (), (*verdicts, check)))
    return made


def _factor(one, night, faster, slower):
    return 1.0 if night < 100 else 0.96 if one in faster else 1.04 if one in slower else 1.0


@pytest.fixture
def nights():
    """Makes a history."""
    return make_nights
