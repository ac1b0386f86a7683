"""Inputs, cases and negative controls."""

from __future__ import annotations

from dataclasses import replace

import torch

from braidcheck.kernels.common.inputs import FAR_BELOW, K_NORM_MAX, LARGE, PAST_16_BITS, SMALL, SUBNORMAL, Numbers
from braidcheck.kernels.common.negative_controls import (
    through_float16,
    without,
    without_last,
    without_nan,
    without_subnormal,
)
from braidcheck.op import Case, Inputs, Sweep


def inputs(case: Case, device: str) -> Inputs:
    """Q and K as they come out of norm and RoPE; keys past the last query hold NaN."""
    numbers = Numbers(case, device)
    tokens, heads, kv_heads, dim = case["T"], case["Hq"], case["Hkv"], case["D"]
    start, spare = case.get("start"), case.get("spare")
    k, v = numbers.normal(start + tokens, kv_heads, dim), numbers.normal(start + tokens, kv_heads, dim)
    q = numbers.normal(tokens, heads, dim)
    if case.profile == "qwen":
        # Norm weights: a few K channels at the real model's maximum, Q's answer them with small ones.
        channels = torch.randperm(dim, generator=numbers.generator)[: dim // 16]
        k[..., channels] *= K_NORM_MAX
        q[..., channels] *= 0.1
    if case.profile == "extreme":
        q, k, v = 8 * q, 8 * k, 100 * v
    if case.profile == "sparse":
        v *= torch.rand(v.shape, generator=numbers.generator) < 0.05
    if case.profile == "cancel":
        v = v.abs() * (1 - 2 * (torch.arange(len(v)) % 2))[:, None, None] * 100
        q *= 0.05
    if case.profile == "one_sign":  # every score is negative: no masked key may count as one of 0
        q, k, v = q.abs(), -k.abs(), v.abs()
    if case.profile == "steep":  # every score is far below any finite number that may stand for minus infinity
        q, k, v = FAR_BELOW * (q.abs() + 1), -(k.abs() + 1), v.abs() + 1
    if case.profile == "range":
        v *= numbers.by_row(dim, LARGE, SMALL)
    if case.profile == "zero_rows":
        q *= numbers.by_row(tokens, 0.0, 1.0, 3)
        v *= numbers.by_row(start + tokens, 1.0, 0.0, 3)
    if case.profile == "subnormal":
        q, k, v = q * SUBNORMAL[case.dtype], k, v * SUBNORMAL[case.dtype]
    if case.profile == "largest":
        v = v.sign() * torch.finfo(numbers.dtype).max
    if case.profile == "nan":  # one head of one query, and the key that the last query alone sees
        q[tokens // 2, 0, 0] = k[-1, -1, -1] = float("nan")
    empty = torch.full((spare, kv_heads, dim), float("nan"))
    given: Inputs = {
        "q": numbers.place(q),
        "k": numbers.place(torch.cat([k, empty])),
        "v": numbers.place(torch.cat([v, empty])),
        "scale": dim**-0.5,
    }
    if start:
        given["q_start"] = start
    if case.get("seqs"):
        cuts = torch.randperm(tokens - 1, generator=numbers.generator)[: case["seqs"] - 1] + 1
        bounds = [0, *sorted(cuts.tolist()), tokens]
        given["cu_seqlens"] = torch.tensor(bounds, dtype=torch.int32, device=device)
    return given


def _seeing_ahead(given: Inputs, count: int) -> Inputs:
    """The inputs with every query ``count`` positions further on: what a mask that leaks lets it see."""
    keys = {name: given[name][: given.get("q_start", 0) + len(given["q"])] for name in "kv"}
    return given | keys | {"q_start": given.get("q_start", 0) + count}


def _case(
    tokens: int,
    shape: tuple[int, int, int],
    profile: str = "unit",
    dtype: str = "bfloat16",
    start: int = 0,
    seqs: int = 0,
    spare: int = 0,
    large: bool = False,
) -> Case:
    heads, kv_heads, dim = shape
    axes = {"T": tokens, "Hq": heads, "Hkv": kv_heads, "D": dim}
    axes |= {name: size for name, size in (("start", start), ("seqs", seqs), ("spare", spare)) if size}
    needs = (("q_start",) if start else ()) + (("cu_seqlens",) if seqs else ())
    return Case("attention_prefill", axes, dtype, profile, large=large, needs=needs)


NANO, QWEN = (6, 2, 64), (16, 8, 128)
CASES = (
    _case(1, NANO),
    _case(0, NANO),
    _case(65, NANO, "qwen"),
    _case(130, NANO, "qwen", "float16"),
    _case(130, NANO, "qwen", "float32"),
    _case(300, NANO, "unit", spare=20),
    _case(300, NANO, "qwen", start=77, spare=5),
    _case(1, NANO, "qwen", start=700),
    _case(400, NANO, "qwen", seqs=5),
    _case(37, QWEN, "qwen"),
    _case(67, (3, 1, 80), "tail"),
    _case(67, (5, 5, 32), "tail", "float16", start=13),
    _case(67, (8, 1, 16), "tail", "float32"),
    _case(100, NANO, "extreme"),
    _case(100, NANO, "sparse"),
    _case(256, NANO, "cancel"),
    _case(256, NANO, "cancel", "float32"),
    _case(67, NANO, "one_sign", spare=5),
    _case(20, NANO, "one_sign", "float16", start=77),
    _case(20, NANO, "one_sign", "float32", seqs=3),
    # In float32 alone: a GPU's fused multiply-add leaves the rounding of the largest score, here 0.002, in P and in its
    # sum alike, and P of 16 bits loses it.
    _case(20, NANO, "steep", "float32", start=13),
    _case(20, NANO, "range", start=13),
    _case(20, NANO, "zero_rows"),
    _case(20, NANO, "zero_rows", "float16", start=13),
    _case(20, NANO, "subnormal", "float16"),
    _case(20, NANO, "largest", "float16"),
    _case(20, NANO, "nan"),
    _case(67, NANO, "nan", "float32", start=13),
    _case(2048, QWEN, "qwen", large=True),
    _case(1023, QWEN, "qwen", start=3000, spare=11, large=True),
    _case(1500, QWEN, "unit", seqs=7, large=True),
    _case(64, QWEN, "qwen", start=40896, large=True),
    _case(2048, QWEN, "cancel", large=True),
)

NEGATIVE_CONTROLS = {
    "without scale": without("scale", 1.0),
    "without q_start": without("q_start", 0),
    "without cu_seqlens": without("cu_seqlens"),
    "without the last key": without_last("k", 0),
    "without the last value dimension": without_last("v"),
    "interleaved GQA mapping": lambda given: given | {"k": given["k"].flip(1), "v": given["v"].flip(1)},
    "mask one too wide": lambda given: _seeing_ahead(given, 1),
    "without mask": lambda given: _seeing_ahead(given, len(given["q"])),
    "NaN read as zero": without_nan("q", "k"),
    "subnormal values read as zero": without_subnormal("v"),
    "values through float16": through_float16("v"),
}


def packed(case: Case, device: str) -> Inputs:
    """Three sequences: two of ``case["seqs"]`` rows, of which the second begins at any row, and a short one; an empty
    one before each of the first two and at the end."""
    size = case["seqs"]
    given = inputs(replace(case, axes={**case.axes, "T": 2 * size + 3, "seqs": 0}), device)
    bounds = [0, 0, size, size, 2 * size, 2 * size + 3, 2 * size + 3]
    return given | {"cu_seqlens": torch.tensor(bounds, dtype=torch.int32, device=device)}


SWEEPS = (
    Sweep(_case(1, (2, 1, 16), "qwen"), ("T",), 257, 4097, far=(512, 513)),
    Sweep(_case(40, (2, 1, 16), "qwen", start=1), ("start",), 257, 8193, far=(512, 1025, 4096)),
    Sweep(_case(300, (2, 1, 16), "unit", "float32", start=1), ("start",), 17, 4097, far=(127, 128, 129, 256, 512)),
    Sweep(
        _case(5, (2, 1, 16), "unit", "float16", start=1, spare=3),
        ("start",),
        257,
        8193,
        far=(512, 1024, 4097, PAST_16_BITS),
    ),
    Sweep(_case(1, (2, 1, 16), "unit", seqs=1), ("seqs",), 129, 2049, far=(256,), inputs=packed),
    Sweep(_case(40, (1, 1, 16), "tail"), ("Hq",), 17, 65),
    Sweep(_case(40, (2, 1, 16), "tail"), ("D",), 64, 256, far=(128, 256), step=8),
)
