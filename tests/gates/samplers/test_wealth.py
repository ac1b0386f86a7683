"""A gambler's wealth: it is worth what it says, and honest draws of any seed leave it small."""

import math
import random

import pytest
import torch

from braidcheck.gates.samplers import LEVEL, dependence, evaluate
from braidcheck.gates.samplers.dependence import best_draws, dependent_draws, flat_answers
from braidcheck.gates.samplers.wealth import SHARES, expected_log_wealth, largest_log_wealth, raised
from braidcheck.result import Status
from tests.engines import tiny

SEEDS = 20


def test_wealth_is_the_mean_of_all_bettors_and_its_largest_value_is_kept():
    bets = {"often": [(True, 0.5), None, (False, 0.5)], "never": [None, (False, 0.5), None]}
    first = sum(1 + share for share in SHARES)
    assert largest_log_wealth(bets) == pytest.approx(math.log((first + len(SHARES)) / (2 * len(SHARES))))
    assert largest_log_wealth({}) == 0.0


def test_an_event_that_comes_up_by_force_reaches_the_level_and_by_chance_it_does_not():
    draw = random.Random(0)
    rows = {share: [(draw.random() < share + (1 - share) * 0.02, 0.02) for _ in range(400)] for share in (0.0, 0.1)}
    assert largest_log_wealth({"event": rows[0.0]}) < -math.log(LEVEL) < largest_log_wealth({"event": rows[0.1]})
    assert expected_log_wealth({"event": rows[0.0]}, 0.1) > expected_log_wealth({"event": rows[0.0][:50]}, 0.1)


def test_odds_are_raised_by_what_noise_allows():
    assert raised(0.5, math.log(3)) == pytest.approx(0.75)
    assert raised(0.2, 0.0) == pytest.approx(0.2)


def test_too_few_draws_tell_nothing():
    bets = {"is it": [(False, 0.1)] * 20}
    draws = {"name": "best", "tokens": 20, "outside": 0, "what": "", "bets": bets, "fault_share": 0.1}
    (verdict,) = evaluate({"engine": "e", "model": "m", "draws": [draws]})
    assert verdict.status == Status.INCONCLUSIVE


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_honest_draws_of_many_seeds_pass(dtype, monkeypatch):
    prompts = [text.ids[:24].tolist() for text in tiny.texts()]

    def after(prompt, answer):
        rows, noise = tiny.hf([*prompt, *answer])
        apart = (4 * noise[len(prompt) - 1 : -1]).tolist()
        return list(zip(rows[len(prompt) - 1 : -1], apart, strict=True))

    for seed in range(SEEDS):
        monkeypatch.setattr(dependence, "FIRST_SEED", 100 * seed)
        rows = flat_answers(tiny.client(lambda: tiny.Right(dtype=dtype)), prompts, 20, (tiny.STOP,), after)
        draws = [{**best_draws(rows), "name": "best"}, {**dependent_draws(rows), "name": "dependent"}]
        for verdict in evaluate({"engine": "tiny", "model": "model", "draws": draws}):
            assert verdict.status == Status.PASS, (seed, verdict)
