"""Samplers with noise of their own: right ones are accepted, and those with another distribution are not."""

from functools import partial

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.numerics import own_noise
from braidcheck.numerics.contract_variants import under
from braidcheck.numerics.conventions import named
from braidcheck.numerics.sampling import kept

OP = kernels.find()["sample"]
OWN = under(OP, named(OP, ["noise=own"]))
MAX_TOKENS = 400  # of a case, so that the tests stay quick
CASES = [case for case in OWN.cases if not case.large and 0 < case["V"] <= MAX_TOKENS and case["T"]]


def exponential(seeds, positions, count):
    """Noise [B,count] of each row's seed and position."""
    generator, noise = torch.Generator(), torch.empty(len(seeds), count)
    for row, seed, position in zip(noise, seeds.tolist(), positions.tolist(), strict=True):
        row.exponential_(generator=generator.manual_seed(hash((seed, position)) % 2**62))
    return noise.clamp_min(2**-30)


def sampled(logits, seeds, positions, temperature, top_k, top_p, noise=exponential, keep=kept):
    weights = keep(logits.double(), temperature, top_k, top_p)
    return (weights / noise(seeds, positions, logits.shape[1])).argmax(-1)


def without_the_last_kept(logits, temperature, top_k, top_p):
    weights = kept(logits, temperature, top_k, top_p)
    least = weights.masked_fill(weights == 0, 2.0).amin(-1, keepdim=True)
    return weights.masked_fill((weights == least) & (weights < weights.amax(-1, keepdim=True)), 0.0)


def with_one_more(logits, temperature, top_k, top_p):
    return kept(logits, temperature, top_k and top_k + 1, top_p)


def warmer(logits, temperature, top_k, top_p):
    return kept(logits, 1.25 * temperature, top_k, top_p)


def of_seven_bits(seeds, positions, count):
    return (exponential(seeds, positions, count) * 2**7).ceil() / 2**7


def of_seeds_alone(seeds, positions, count):
    return exponential(seeds, positions * 0, count)


def of_few_seeds(seeds, positions, count):
    return exponential(seeds // 2, positions, count)


def said(function):
    return [found for check in OWN.contract_checks.values() if (found := check(OWN, function, "cpu"))]


def wrong_cases(function):
    return [case.id for case in CASES if accuracy.violation(measure_op(OWN, case, "cpu", function))]


def test_a_right_sampler_keeps_the_contract_and_not_that_with_the_op_s_noise():
    assert not said(sampled)
    assert not wrong_cases(sampled)
    assert any(accuracy.violation(measure_op(OP, case, "cpu", sampled)) for case in CASES)


@pytest.mark.parametrize(
    "wrong",
    [
        partial(sampled, keep=without_the_last_kept),
        partial(sampled, keep=with_one_more),
        partial(sampled, keep=warmer),
        partial(sampled, noise=of_seven_bits),
        partial(sampled, noise=of_seeds_alone),
        partial(sampled, noise=of_few_seeds),
    ],
)
def test_another_distribution_is_seen(wrong):
    assert said(wrong)


def test_a_token_that_is_not_kept_is_seen_at_once():
    assert wrong_cases(partial(sampled, keep=lambda logits, temperature, top_k, top_p: kept(logits, temperature, 0, 1)))


def test_each_check_sees_a_fault():
    first, rare, pairs = (
        own_noise.check_distribution, own_noise.check_rare_tokens, own_noise.check_independence,
    )  # fmt: skip
    assert first(OWN, partial(sampled, keep=warmer), "cpu").startswith("temperature ")
    assert "chi-square" in rare(OWN, partial(sampled, noise=of_seven_bits), "cpu")
    assert pairs(OWN, partial(sampled, noise=of_few_seeds), "cpu").startswith("tokens of one position of two seeds")
