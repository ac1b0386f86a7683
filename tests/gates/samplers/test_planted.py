"""A right sampler passes, planted faults are found in the settings that they spoil."""

from functools import partial

import pytest
import torch

from braidcheck.gates.samplers import evaluate, measure
from braidcheck.gates.samplers.kept_tokens import JOINT, SEQUENTIAL
from braidcheck.gates.samplers.limits import Setting, allowed, place
from braidcheck.gates.samplers.measure import NAMES, SETTINGS, measure_samplers
from braidcheck.result import Status
from tests.engines import tiny, wrong_requests, wrong_samplers


def verdicts(make):
    evidence = {"engine": "tiny", "model": "model", "draws": []}
    with_stop = lambda token: tiny.client(partial(make, stop=token))  # noqa: E731
    measure_samplers(tiny.client(make), tiny.texts(), tiny.hf, evidence, lambda text: None, tiny.LONGEST, with_stop)
    return {verdict.subject.rpartition(": ")[2]: verdict for verdict in evaluate(evidence)}


@pytest.fixture
def measured_alone(monkeypatch):
    """Leaves out all but one of NAMES: the others take most of the time."""
    add = measure._add

    def only(wanted):
        def add_one(client, evidence, say, name, *rest, **options):
            if name == wanted:
                add(client, evidence, say, name, *rest, **options)

        monkeypatch.setattr(measure, "_add", add_one)

    return only


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_right_sampler_passes(dtype):
    by_name = verdicts(partial(tiny.Right, dtype=dtype))
    assert list(by_name) == list(NAMES)
    assert {verdict.status for verdict in by_name.values()} == {Status.PASS}, by_name


@pytest.mark.parametrize(
    ("fault", "setting"),
    [
        (wrong_samplers.TemperatureIgnored, "temperature 2"),
        (wrong_samplers.TemperatureIgnored, "temperature 0.3"),
        (wrong_samplers.TopKIgnored, "top-k 3"),
        (wrong_samplers.OffByOne, "temperature 0.3"),
        (wrong_samplers.SeedIgnored, "seeds"),
        (wrong_samplers.FewSeeds, "seeds"),
        (wrong_samplers.ByteSeed, "seeds"),
        (wrong_samplers.FloatSeed, "seeds"),
        (wrong_samplers.SharedSeed, "seeds"),
        (wrong_samplers.FirstGreedy, "first tokens of many seeds"),
        (wrong_samplers.TopKTooSmall, "top-k that keeps two"),
        (wrong_samplers.TopPTooFew, "top-p that keeps two"),
        (wrong_samplers.ForgetsTopK, "top-p of a top-k that keeps two"),
        (wrong_samplers.ForgetsTopP, "top-p of a top-k that keeps two"),
        (wrong_samplers.PartlyGreedy, "how often the best token is drawn"),
        (partial(wrong_samplers.NumbersTwice, wrong_samplers.by_id), "draws that repeat others"),
        (partial(wrong_samplers.NumbersTwice, wrong_samplers.by_share), "draws that repeat others"),
        (partial(wrong_samplers.NumbersTwice, wrong_samplers.by_race), "draws that repeat others"),
        (wrong_samplers.SeedHalved, "draws that repeat others"),
        (wrong_samplers.RowsShareNumbers, "draws that repeat others"),
        (wrong_samplers.SamplesOn, "drawn stop tokens"),
        (wrong_samplers.SamplesOn, "temperature 2"),
        (wrong_requests.LongAnswer, "long greedy answers under HF"),
        (wrong_requests.IgnoresLastToken, "greedy tokens under HF"),
        (partial(tiny.Right, theta=500.0), "greedy tokens under HF"),
    ],
)
def test_a_planted_fault_is_found(fault, setting, measured_alone):
    measured_alone(setting)
    assert [(name, verdict.status) for name, verdict in verdicts(fault).items()] == [(setting, Status.FAIL)]


def test_either_convention_of_top_p_beside_top_k_is_named(measured_alone):
    measured_alone("top-p of a top-k that keeps two")
    for make, convention in ((tiny.Right, SEQUENTIAL), (wrong_samplers.TopPOfAll, JOINT)):
        (verdict,) = verdicts(make).values()
        assert verdict.status == Status.PASS
        assert verdict.message.endswith(convention)


def test_an_engine_without_a_sampler_is_skipped():
    class Greedy:
        def generate(self, ids, n):
            return tiny.Right().generate(ids, n)

    by_name = verdicts(Greedy)
    assert by_name["temperature 1"].message == "the engine has no sample"
    assert {by_name[name].status for name in SETTINGS} == {Status.SKIPPED}


def test_a_tie_is_placed_by_its_id():
    row = torch.tensor([3.0, 2.0, 2.0, 0.0])
    shares = [place(row, token, Setting()) for token in range(4)]
    assert shares[0][1] == 0
    assert shares[1][1] == shares[0][0] == shares[0][2]
    assert shares[2][1] == pytest.approx(shares[1][1] + shares[1][0])
    assert sum(share for share, _, _ in shares) == pytest.approx(1)


@pytest.mark.parametrize("setting", [Setting(top_k=1), Setting(top_p=0.5), Setting(min_p=0.9)])
def test_noise_may_bring_a_near_token_inside_and_no_far_one(setting):
    row = torch.tensor([3.0, 2.9, 0.0, -1.0])
    assert allowed(row, 1, setting, apart=0.2)
    assert not allowed(row, 2, setting, apart=0.2)
