"""The references against Hugging Face's own modules, in float64: the one place where truth is anchored."""

import pytest
import torch
from transformers import Qwen3Config
from transformers.models.qwen3 import modeling_qwen3 as hf

from braidcheck.kernels import attention_decode, attention_prefill, gate_up_silu, qk_norm_rope, qkv_rope, rms_norm
from braidcheck.kernels._rope import rope_table

H, HQ, HKV, D, T, EPS = 96, 6, 2, 16, 23, 1e-6
CONFIG = Qwen3Config(
    hidden_size=H, num_attention_heads=HQ, num_key_value_heads=HKV, head_dim=D, intermediate_size=80, vocab_size=50,
    num_hidden_layers=1, max_position_embeddings=512, rms_norm_eps=EPS, attn_implementation="eager",
    rope_parameters={"rope_type": "default", "rope_theta": 1e6},
)  # fmt: skip


@pytest.fixture(scope="module")
def layer():
    torch.manual_seed(0)
    layer = hf.Qwen3DecoderLayer(CONFIG, 0).double()
    for name, parameter in layer.named_parameters():
        parameter.data = torch.exp(0.5 * torch.randn_like(parameter)) if "norm" in name else torch.randn_like(parameter)
    return layer.eval()


@pytest.fixture(scope="module")
def x():
    return torch.randn(T, H, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def stacked(attention):
    return torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])


def table(positions):
    return rope_table(512, D).double(), positions


def hf_qkv(attention, x, positions):
    """Q, K and V as HF's attention computes them, [T, heads, D]."""
    rotary = hf.Qwen3RotaryEmbedding(CONFIG)
    cos, sin = rotary(x[None].float(), positions[None])
    q = attention.q_norm(attention.q_proj(x).view(T, HQ, D)).transpose(0, 1)[None]
    k = attention.k_norm(attention.k_proj(x).view(T, HKV, D)).transpose(0, 1)[None]
    q, k = hf.apply_rotary_pos_emb(q, k, cos.double(), sin.double())
    return q[0].transpose(0, 1), k[0].transpose(0, 1), attention.v_proj(x).view(T, HKV, D)


def test_the_rope_table_is_hfs():
    cos, sin = hf.Qwen3RotaryEmbedding(CONFIG)(torch.zeros(1, 1), torch.arange(512)[None])
    assert torch.equal(rope_table(512, D), torch.cat([cos[0, :, : D // 2], sin[0, :, : D // 2]], -1))


@torch.no_grad()
def test_rms_norm(layer, x):
    norm = layer.input_layernorm
    # HF's norm computes in float32 whatever it is given.
    expected = norm(x.float())
    torch.testing.assert_close(rms_norm.reference(x, norm.weight, EPS).float(), expected.float(), rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("start", [0, 200])
def test_qkv_rope(layer, x, start):
    attention, positions = layer.self_attn, torch.arange(start, start + T)
    got = qkv_rope.reference(
        x, stacked(attention), *table(positions), HQ, HKV, D,
        q_norm_weight=attention.q_norm.weight, k_norm_weight=attention.k_norm.weight, eps=EPS,
    )  # fmt: skip
    for mine, theirs in zip(got, hf_qkv(attention, x, positions), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-5, atol=2e-5)  # HF's head norm rounds to float32


@torch.no_grad()
def test_qk_norm_rope(layer, x):
    attention, positions = layer.self_attn, torch.arange(7, 7 + T)
    q, k = attention.q_proj(x).view(T, HQ, D), attention.k_proj(x).view(T, HKV, D)
    norms = attention.q_norm.weight, attention.k_norm.weight
    got = qk_norm_rope.reference(q, k, *norms, *table(positions), EPS)
    for mine, theirs in zip(got, hf_qkv(attention, x, positions)[:2], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-5, atol=2e-5)


@torch.no_grad()
def test_attention_is_torchs(layer):
    q, k, v = (torch.randn(T, heads, D, dtype=torch.float64) for heads in (HQ, HKV, HKV))
    batched = (part.transpose(0, 1)[None] for part in (q, k, v))
    expected = torch.nn.functional.scaled_dot_product_attention(*batched, is_causal=True, enable_gqa=True, scale=0.3)
    close(attention_prefill.reference(q, k, v, 0.3), expected[0].transpose(0, 1))
    last = attention_decode.reference(q[-1:], k[None], v[None], torch.tensor([T]), 0.3)
    close(last[0], expected[0, :, -1])


@torch.no_grad()
def test_packed_sequences_do_not_see_each_other():
    q, k, v = (torch.randn(T, heads, D, dtype=torch.float64) for heads in (HQ, HKV, HKV))
    packed = attention_prefill.reference(q, k, v, 0.3, cu_seqlens=torch.tensor([0, 9, T]))
    apart = [attention_prefill.reference(q[s], k[s], v[s], 0.3) for s in (slice(0, 9), slice(9, T))]
    close(packed, torch.cat(apart))


@torch.no_grad()
def test_a_chunk_continues_the_sequence():
    q, k, v = (torch.randn(T, heads, D, dtype=torch.float64) for heads in (HQ, HKV, HKV))
    close(attention_prefill.reference(q[9:], k, v, 0.3, q_start=9), attention_prefill.reference(q, k, v, 0.3)[9:])


@torch.no_grad()
def test_gate_up_silu(layer, x):
    mlp = layer.mlp
    weight = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
    close(gate_up_silu.reference(x, weight), torch.nn.functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
