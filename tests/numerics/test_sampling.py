"""The test of drawn tokens: exact draws pass, a wrong share and a token that cannot be drawn do not."""

import pytest
import torch

from braidcheck.numerics.sampling import critical_value, probabilities, refused_draws, uniform

LOGITS = torch.linspace(-2, 2, 30)


def drawn(exact, count=4000):
    numbers = uniform(torch.arange(count) << 32, torch.full((count,), 7))
    return torch.searchsorted(exact.cumsum(0), numbers).clamp_max(len(exact) - 1)


@pytest.mark.parametrize("filters", [{}, {"top_k": 5}, {"top_p": 0.7}, {"top_k": 1}, {"min_p": 0.2}])
def test_exact_draws_pass(filters):
    exact = probabilities(LOGITS, 0.8, **filters)
    assert float(exact.sum()) == pytest.approx(1)
    assert refused_draws(drawn(exact), exact) is None


def test_filters_keep_what_they_say():
    row = torch.tensor([3.0, 2.0, 1.0, 0.0])

    def kept(**filters):
        return [token for token, share in enumerate(probabilities(row, 1.0, **filters)) if share]

    assert kept(top_k=2) == kept(top_p=0.7) == kept(min_p=0.2) == [0, 1]
    assert kept(top_p=0.6) == kept(min_p=0.5) == [0]
    assert kept(top_k=3, min_p=0.1) == [0, 1, 2]


def test_another_temperature_is_refused():
    assert "chi-square" in refused_draws(drawn(probabilities(LOGITS, 1.0)), probabilities(LOGITS, 0.8))


def test_a_token_that_is_filtered_or_none_at_all_is_refused():
    exact = probabilities(LOGITS, 0.8, top_k=5)
    for token in (0, len(LOGITS)):
        tokens = drawn(exact)
        tokens[17] = token
        assert "of probability 0" in refused_draws(tokens, exact)


def test_draws_that_are_too_even_pass():
    """A chi-square of 0 is not refused: only what is too far from the probabilities is."""
    exact = torch.full((4,), 0.25, dtype=torch.float64)
    assert refused_draws(torch.arange(400) % 4, exact) is None


@pytest.mark.parametrize(("freedom", "level", "value"), [(7, 1e-6, 40.52), (1, 0.05, 3.841), (10, 0.01, 23.209)])
def test_the_critical_value_is_chi_squares(freedom, level, value):
    assert critical_value(freedom, level) == pytest.approx(value, abs=0.005)
