"""Drawing tokens: as often as HF's warpers have it, alike for equal noise, and what cannot be served is refused."""

import pytest
import torch

from braidcheck.kernels.sample import sample
from braidcheck.kernels.sample.checks import DRAWS_FIRST, DRAWS_LAST
from braidcheck.numerics.error import distance
from braidcheck.numerics.rounding import ROUNDOFF
from braidcheck.numerics.sampling import _philox, kept, uniform

DRAWS, VOCAB = 1200, 24
LOGITS = 2 * torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(12))
FILTERS = [(1.0, 0, 1.0), (0.6, 0, 1.0), (1.0, 5, 1.0), (1.0, 0, 0.8), (2.0, 12, 0.7)]


def hf(temperature, top_k, top_p, logits=LOGITS):
    """HF's probabilities [B,V]."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warpers = [TemperatureLogitsWarper(temperature)]
    warpers += [TopKLogitsWarper(top_k)] if top_k else []
    warpers += [TopPLogitsWarper(top_p)] if top_p < 1 else []
    for warper in warpers:
        logits = warper(None, logits)
    return logits.softmax(-1)


def drawn(*filters):
    seeds = torch.full((DRAWS,), 5 << 32)
    return sample(LOGITS.expand(DRAWS, -1), seeds, torch.arange(DRAWS), *filters)


def likelihood(tokens, probabilities):
    """How likely counts at least this far from the expected ones are: chi-square over tokens expected 5 times."""
    expected, counts = DRAWS * probabilities[0].double(), torch.bincount(tokens, minlength=VOCAB).double()
    if counts[probabilities[0] == 0].any():
        return 0.0
    often = expected >= 5
    expected, counts = (torch.cat([n[often], n[~often].sum()[None]]) for n in (expected, counts))
    there = expected > 0
    distance = ((counts - expected)[there].square() / expected[there]).sum()
    return float(torch.special.gammaincc((there.sum().double() - 1) / 2, distance / 2))


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_tokens_come_as_often_as_hfs_probabilities_say(filters):
    tokens = drawn(*filters)
    assert likelihood(tokens, hf(*filters)) > 1e-3
    for others in FILTERS:
        if others != filters:
            assert likelihood(tokens, hf(*others)) < 1e-6, others


@pytest.mark.numeric
@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_the_reference_keeps_what_hf_keeps(filters):
    logits = torch.randn(40, 300, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weights = kept(logits, *filters)
    expected = hf(*filters, logits=logits)
    # Both round: a sum of up to 300 terms in any order, and an exponential, which errs as its argument does.
    assert (logits / filters[0]).abs().max() < 100
    rest = 2 * 2 * 300 * ROUNDOFF[torch.float64] * expected
    assert distance(weights / weights.sum(-1, keepdim=True), expected, rest).error_ratio < 1


def test_the_noise_is_philoxs():
    """Known answers of Philox 4x32-10, from the paper's own test vectors."""
    assert _philox(0, 0) == 0x6627E8D5
    assert uniform(torch.tensor([0]), torch.tensor([0])).item() == (0x6627E8D5 >> 8) / 2**24


def test_noise_is_of_seed_and_position_alone():
    logits = torch.zeros(4, 5000)
    seeds, positions = torch.tensor([3, 3, 3 << 32, 3]), torch.tensor([7, 7, 7, 8])
    tokens = sample(logits, seeds, positions, 1.0, 0, 1.0).tolist()
    assert tokens[0] == tokens[1]
    assert len(set(tokens)) == 3


def test_equal_logits_are_kept_together():
    logits = torch.zeros(200, 9)
    logits[:, 2:6] = torch.tensor([3.0, 3.0, 3.0, 2.0])
    for top_k, top_p in ((1, 1.0), (2, 1.0), (0, 0.1), (2, 0.5)):
        tokens = sample(logits, torch.zeros(200, dtype=torch.int64), torch.arange(200), 1.0, top_k, top_p)
        assert set(tokens.tolist()) == {2, 3, 4}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"logits": torch.zeros(3)}, r"logits must be \[B,V\]"),
        ({"logits": torch.zeros(2, 3, dtype=torch.int64)}, "logits must be torch.float32 or .*, is torch.int64"),
        ({"seeds": torch.zeros(2)}, "seeds must be torch.int64, is torch.float32"),
        ({"positions": torch.zeros(3, dtype=torch.int64)}, r"positions must be \[B=2\] \(B of logits\), is \[3\]"),
        ({"temperature": 0.0}, "temperature must be from 1.18e-38 to 1.7e.38, is 0.0"),
        ({"top_k": -1}, "top_k must be from 0 to 1073741824, is -1"),
        ({"top_p": 0.0}, "top_p must be from 1.18e-38 to 1, is 0.0"),
        ({"top_p": 1.5}, "top_p must be from 1.18e-38 to 1, is 1.5"),
        ({"logits": torch.zeros(3, 2).T}, "last axis must be contiguous"),
    ],
)
def test_wrapper_rejects_invalid_arguments(changed, said):
    given = {"logits": torch.zeros(2, 3), "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    given |= {name: torch.zeros(2, dtype=torch.int64) for name in ("seeds", "positions")}
    with pytest.raises(ValueError, match=said):
        sample(**(given | changed))


def test_the_seeds_of_the_contract_check_give_the_ends_of_the_random_numbers():
    seeds = torch.tensor([DRAWS_FIRST, DRAWS_LAST])
    assert uniform(seeds, torch.zeros_like(seeds)).tolist() == [0, 1 - 2**-24]
