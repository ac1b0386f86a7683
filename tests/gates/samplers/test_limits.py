"""Limits of chi-square and of filters, where logits are off by what noise allows."""

import math

import torch

from braidcheck.gates.samplers import LEVEL, noisy_limit
from braidcheck.numerics.sampling import chi_square, critical_value

BINS, COUNT = 8, 20_000


def statistic(shares):
    counts = COUNT * torch.tensor(shares, dtype=torch.float64)
    return chi_square(counts, counts.mean().expand_as(counts))


def test_a_distribution_that_is_off_by_noise_stays_below_the_limit_and_a_farther_one_does_not():
    exact = critical_value(BINS - 1, LEVEL)
    off = math.exp(0.3) / BINS
    near = [off, *[(1 - off) / (BINS - 1)] * (BINS - 1)]
    assert exact < statistic(near) < noisy_limit(exact, COUNT, 0.3)
    assert statistic([0.5, *[0.5 / (BINS - 1)] * (BINS - 1)]) > noisy_limit(exact, COUNT, 0.3)
    assert noisy_limit(exact, COUNT, 0.0) == exact
