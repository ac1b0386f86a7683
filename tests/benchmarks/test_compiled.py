"""Our plain PyTorch module is HF's model: ragged rows over a static cache, in float32."""

import pytest
import torch

from braidcheck.benchmarks.compiled import CompiledQwen3
from braidcheck.gates.layers.measure import hf_model
from braidcheck.models.qwen3.synthetic import synthetic_tensors
from braidcheck.models.qwen3.weights import Weights

LENGTHS = [5, 1, 12]
LONGEST_SUM = 128  # terms: the output projection's, four heads of 32
CAPACITY = 24


@pytest.fixture
def hf(config):
    return hf_model(config, synthetic_tensors(config, 1, "cpu"), torch.float32, "cpu")


@pytest.fixture
def prompts(config):
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(0, config.vocab_size, (length + 1,), generator=generator) for length in LENGTHS]


def module(config, hf, prompts, optimise=lambda function: function):
    """The module with each row's cache as HF fills it by all but the prompt's last token."""
    heads, dim = config.num_key_value_heads, config.head_dim
    shape = len(prompts), heads, CAPACITY, dim
    caches = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(config.num_hidden_layers)]
    for row, ids in enumerate(prompts):
        past = hf(ids[None, :-1], use_cache=True).past_key_values
        for (keys, values), layer in zip(caches, past.layers, strict=True):
            keys[row, :, : len(ids) - 1], values[row, :, : len(ids) - 1] = layer.keys[0], layer.values[0]
    weights = Weights.from_tensors(synthetic_tensors(config, 1, "cpu"), config, torch.float32)
    newest = torch.stack([ids[-1] for ids in prompts])
    return CompiledQwen3(config, weights, caches, newest, torch.tensor(LENGTHS), optimise)


@pytest.fixture
def assert_hf(hf, hf_logits, assert_rounded):
    """That logits [B,V] are HF's after each of B rows of ids."""

    def check(logits, rows):
        exact, float32 = zip(*((part[-1] for part in hf_logits(hf, ids)) for ids in rows), strict=True)
        assert_rounded(logits, torch.stack(exact), torch.stack(float32), LONGEST_SUM)

    return check


@pytest.mark.numeric
@torch.no_grad()
def test_logits_are_hfs(config, hf, prompts, assert_hf):
    assert_hf(module(config, hf, prompts).logits(), prompts)


@pytest.mark.numeric
@torch.no_grad()
def test_each_step_writes_its_slot_and_goes_on_as_hf_does(config, hf, prompts, assert_hf):
    own = module(config, hf, prompts)
    tokens = own.run(4)
    whole = [torch.cat([ids, row]) for ids, row in zip(prompts, tokens, strict=True)]
    assert_hf(own.logits(), whole)
    assert own.filled.tolist() == [length + 4 for length in LENGTHS]
    for row, ids in enumerate(prompts):
        expected = hf.generate(ids[None], max_new_tokens=4, do_sample=False, pad_token_id=0)[0, len(ids) :]
        assert tokens[row].tolist() == expected.tolist()


@torch.no_grad()
def test_a_module_without_the_residual_that_a_layer_left_open_is_another(config, hf, prompts):
    own = module(config, hf, prompts)
    expected = own.logits()
    inner = own.layer
    own.layer = lambda h, branch, *rest: inner(h, 0 * branch, *rest)
    assert (own.logits() - expected).norm() > 0.1 * expected.norm()
