"""Engines whose calls take as long as a clock of the test says: equal, slower, faster, wrong while they are timed."""

import random
from functools import partial

import pytest

from braidcheck.gates import throughput
from braidcheck.gates.throughput import measure
from braidcheck.gates.throughput.measure import NAMES, Work, measure_throughput
from braidcheck.result import Run, Status
from tests.engines import tiny

WORKS = (Work(1, 32), Work(8, 32), Work(1, 32, 16), Work(8, 32, 16), Work(1, 2000))
NOISE = 0.03  # of a call's time, as a quiet machine has


class Clock:
    """Time that goes on where an engine works, and nowhere else."""

    def __init__(self):
        self.now, self.draw = 0.0, random.Random(7)

    def __call__(self):
        return self.now

    def work(self, seconds):
        self.now += seconds * self.draw.gauss(1, NOISE)


class Timed(tiny.Right):
    """A right engine: a prompt takes 10 ms, a token of an answer 5 ms, times ``slow``."""

    def __init__(self, clock, slow=1.0, slow_decode=1.0, **options):
        super().__init__(**options)
        self.clock, self.slow, self.slow_decode = clock, slow, slow_decode

    def prefill(self, ids):
        self.clock.work(0.01 * self.slow)
        return super().prefill(ids)

    def prefill_batch(self, prompts):
        self.clock.work(0.01 * self.slow)
        return super().prefill_batch(prompts)

    def generate(self, ids, n):
        self.clock.work(0.01 * self.slow + 0.005 * n * self.slow_decode)
        return super().generate(ids, n)


class WrongWhenTimed(Timed):
    """Right the first time, then it gives the last prompt's logits again."""

    seen = None

    def prefill(self, ids):
        self.seen, before = super().prefill(ids), self.seen
        return self.seen if before is None else before.roll(1, 0)


class ShorterWhenTimed(Timed):
    """Right at first, then an answer of the tokens that HF is sure of alone."""

    asked = 0

    def generate(self, ids, n):
        self.asked += 1
        return super().generate(ids, n if self.asked == 1 else n - 1)


@pytest.fixture(autouse=True)
def few_works(monkeypatch):
    monkeypatch.setattr(measure, "WORKS", WORKS)


def measured(make, base=None, earlier=None, seconds=1e9):
    clock = Clock()
    evidence = {"engine": "new", "model": "m", "against": "old", "earlier": bool(earlier), "series": []}
    clients = [tiny.client(partial(one, clock)) if one else None for one in (make, base)]
    measure_throughput(*clients, earlier or {}, tiny.texts(), tiny.LONGEST, evidence, seconds, clock=clock)
    return {verdict.subject.rpartition(": ")[2]: verdict for verdict in throughput.evaluate(evidence)}


def test_an_engine_is_as_fast_as_itself():
    said = measured(Timed, Timed)
    assert {said[work.name].status for work in WORKS[:4]} == {Status.PASS}, said
    assert said["prefill, 2000 tokens"].message.startswith("model, engine or text end at")
    assert said["prefill, 32 tokens"].metrics["tokens_per_second"] == pytest.approx(32 / 0.01, rel=NOISE)
    assert said["decode, after 32 tokens"].metrics["tokens_per_second"] == pytest.approx(15 / 0.08, rel=4 * NOISE)
    assert said["decode, batch of 8, after 32 tokens"].status == Status.PASS


def test_a_slower_decode_fails_and_a_faster_one_passes():
    slower = measured(partial(Timed, slow_decode=1.2), Timed)
    assert slower["decode, after 32 tokens"].status == Status.FAIL
    assert "slower by +17" in slower["decode, after 32 tokens"].message
    assert slower["prefill, 32 tokens"].status == Status.PASS
    faster = measured(partial(Timed, slow=0.5), Timed)
    assert {faster[work.name].status for work in WORKS[:4]} == {Status.PASS}


def test_what_noise_hides_is_undecided(monkeypatch):
    monkeypatch.setattr(f"{__name__}.NOISE", 0.1)
    said = measured(partial(Timed, slow=1.05), Timed)["prefill, 32 tokens"]
    assert said.status == Status.INCONCLUSIVE
    assert "undecided: time differs by" in said.message


def test_too_little_time_is_said():
    said = measured(Timed, Timed, seconds=4)["prefill, 32 tokens"]
    assert said.status == Status.INCONCLUSIVE
    assert "too few to decide" in said.message
    none = measured(Timed, Timed, seconds=0)["prefill, 32 tokens"]
    assert (none.status, none.message) == (Status.INCONCLUSIVE, "no round fit into the time budget")


@pytest.mark.parametrize(
    ("engine", "series", "what"),
    [
        (WrongWhenTimed, "prefill, 32 tokens", "KL to HF is"),
        (ShorterWhenTimed, "decode, after 32 tokens", "15 tokens"),
    ],
)
def test_a_wrong_answer_while_it_is_timed_fails(engine, series, what):
    said = measured(engine, Timed)[series]
    assert said.status == Status.FAIL
    assert "an answer that was timed is wrong: " in said.message
    assert what in said.message
    assert measured(Timed, engine)[series].status == Status.SKIPPED  # such a base is none


def run_of(verdicts, **environment):
    return Run({"processor": "a CPU", **environment}, (), tuple(verdicts.values()))


@pytest.mark.parametrize(("slow", "status"), [(1.0, Status.PASS), (1.3, Status.FAIL)])
def test_an_earlier_run_is_a_base(slow, status):
    alone = measured(Timed)
    assert alone["prefill, 32 tokens"].status == Status.SKIPPED
    assert "there is nothing to compare it with" in alone["prefill, 32 tokens"].message
    earlier, why = throughput.earlier_seconds(run_of(alone), {"processor": "a CPU"})
    assert not why
    said = measured(partial(Timed, slow=slow, slow_decode=slow), earlier=earlier)
    assert {said[work.name].status for work in WORKS[:4]} == {status}


def test_an_earlier_run_of_another_machine_or_without_throughput_is_none():
    run = run_of(measured(Timed))
    assert "another machine (its processor differs)" in throughput.earlier_seconds(run, {"processor": "b"})[1]
    assert "make one with --speed" in throughput.earlier_seconds(run_of({}), {"processor": "a CPU"})[1]


def test_names_are_unlike():
    assert len(set(NAMES)) == len(NAMES)
