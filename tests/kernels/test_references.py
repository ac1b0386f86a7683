"""The references against Hugging Face's own modules, in float64: the one place where truth is anchored."""

import copy
from functools import cache

import pytest
import torch

from braidcheck.kernels.attention_decode import oracle as attention_decode
from braidcheck.kernels.attention_prefill import oracle as attention_prefill
from braidcheck.kernels.gate_up_silu import oracle as gate_up_silu
from braidcheck.kernels.qk_norm_rope import oracle as qk_norm_rope
from braidcheck.kernels.qkv_rope import oracle as qkv_rope
from braidcheck.kernels.rms_norm import oracle as rms_norm
from braidcheck.numerics.rope import rope_table

pytestmark = pytest.mark.numeric
H, HQ, HKV, D, T, EPS = 96, 6, 2, 16, 23, 1e-6
SIZES = {
    "hidden_size": H, "num_attention_heads": HQ, "num_key_value_heads": HKV, "head_dim": D, "intermediate_size": 80,
    "vocab_size": 50,
    "num_hidden_layers": 1, "max_position_embeddings": 512, "rms_norm_eps": EPS, "attn_implementation": "eager",
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}  # fmt: skip


def hf():
    from transformers.models.qwen3 import modeling_qwen3

    return modeling_qwen3


@cache
def config():
    from transformers import Qwen3Config

    return Qwen3Config(**SIZES)


@pytest.fixture(scope="module")
def layer():
    torch.manual_seed(0)
    layer = hf().Qwen3DecoderLayer(config(), 0).double()
    for name, parameter in layer.named_parameters():
        parameter.data = torch.exp(0.5 * torch.randn_like(parameter)) if "norm" in name else torch.randn_like(parameter)
    return layer.eval()


@pytest.fixture(scope="module")
def x():
    return torch.randn(T, H, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def assert_equals(float64, assert_rounded):
    """That outputs in float64 are a function's of a module, or none, and float64 tensors, up to rounding."""

    def check(got, function, module, *tensors):
        with float64():
            exact = function(module, *tensors)
        rough = function(copy.deepcopy(module).float() if module else None, *(tensor.float() for tensor in tensors))
        for outputs in zip(got, exact, rough, strict=True):
            assert_rounded(*outputs, H)  # the projections' sums are the longest

    return check


def drawn(*heads):
    generator = torch.Generator().manual_seed(8)
    return [torch.randn(T, count, D, dtype=torch.float64, generator=generator) for count in heads]


def stacked(attention):
    return torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])


def table(positions):
    return rope_table(512, D).double(), positions


def hf_table(positions):
    """HF's cosines and sines [1,T,D] of float32 angles, in float64."""
    return [part.double() for part in hf().Qwen3RotaryEmbedding(config())(torch.zeros(1, 1), positions[None])]


def hf_qkv(attention, x, cos, sin):
    """Q, K and V as HF's attention computes them, [T, heads, D]."""
    q = attention.q_norm(attention.q_proj(x).view(T, HQ, D)).transpose(0, 1)[None]
    k = attention.k_norm(attention.k_proj(x).view(T, HKV, D)).transpose(0, 1)[None]
    q, k = hf().apply_rotary_pos_emb(q, k, cos, sin)
    return q[0].transpose(0, 1), k[0].transpose(0, 1), attention.v_proj(x).view(T, HKV, D)


def test_the_rope_table_is_hfs():
    cos, sin = hf().Qwen3RotaryEmbedding(config())(torch.zeros(1, 1), torch.arange(512)[None])
    assert torch.equal(rope_table(512, D), torch.cat([cos[0, :, : D // 2], sin[0, :, : D // 2]], -1))


@torch.no_grad()
def test_rms_norm(layer, x, assert_equals):
    norm = layer.input_layernorm
    assert_equals([rms_norm.reference(x, norm.weight, EPS)], lambda norm, x: [norm(x)], norm, x)


@torch.no_grad()
@pytest.mark.parametrize("start", [0, 200])
def test_qkv_rope(layer, x, start, assert_equals):
    attention, positions = layer.self_attn, torch.arange(start, start + T)
    got = qkv_rope.reference(
        x, stacked(attention), *table(positions), HQ, HKV, D,
        q_norm_weight=attention.q_norm.weight, k_norm_weight=attention.k_norm.weight, eps=EPS,
    )  # fmt: skip
    assert_equals(got, hf_qkv, attention, x, *hf_table(positions))


@torch.no_grad()
def test_qk_norm_rope(layer, x, assert_equals):
    attention, positions = layer.self_attn, torch.arange(7, 7 + T)
    q, k = attention.q_proj(x).view(T, HQ, D), attention.k_proj(x).view(T, HKV, D)
    norms = attention.q_norm.weight, attention.k_norm.weight
    got = qk_norm_rope.reference(q, k, *norms, *table(positions), EPS)
    assert_equals(got, lambda *given: hf_qkv(*given)[:2], attention, x, *hf_table(positions))


@torch.no_grad()
def test_attention_is_torchs(assert_equals):
    def expected(_, *qkv):
        batched = (part.transpose(0, 1)[None] for part in qkv)
        out = torch.nn.functional.scaled_dot_product_attention(*batched, is_causal=True, enable_gqa=True, scale=0.3)
        return out[0].transpose(0, 1), out[0, :, -1]

    q, k, v = drawn(HQ, HKV, HKV)
    last = attention_decode.reference(q[-1:], k[None], v[None], torch.tensor([T]), 0.3)
    assert_equals((attention_prefill.reference(q, k, v, 0.3), last[0]), expected, None, q, k, v)


@torch.no_grad()
def test_packed_sequences_do_not_see_each_other(assert_equals):
    def apart(_, q, k, v):
        return [attention_prefill.reference(q[s], k[s], v[s], 0.3) for s in (slice(0, 9), slice(9, T))]

    q, k, v = drawn(HQ, HKV, HKV)
    packed = attention_prefill.reference(q, k, v, 0.3, cu_seqlens=torch.tensor([0, 9, T]))
    assert_equals(packed.split([9, T - 9]), apart, None, q, k, v)


@torch.no_grad()
def test_a_chunk_continues_the_sequence(assert_equals):
    def whole(_, q, k, v):
        return [attention_prefill.reference(q, k, v, 0.3)[9:]]

    q, k, v = drawn(HQ, HKV, HKV)
    assert_equals([attention_prefill.reference(q[9:], k, v, 0.3, q_start=9)], whole, None, q, k, v)


@torch.no_grad()
def test_gate_up_silu(layer, x, assert_equals):
    def expected(mlp, x):
        return [torch.nn.functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x)]

    mlp = layer.mlp
    weight = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
    assert_equals([gate_up_silu.reference(x, weight)], expected, mlp, x)
