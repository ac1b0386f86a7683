"""The inputs on which ``qk_norm_rope`` is evaluated, and the negative controls that its cases must detect."""

from __future__ import annotations

import torch

from braidcheck.kernels.common.inputs import EPS, K_NORM_MAX, LARGE, SMALL, Numbers
from braidcheck.kernels.common.negative_controls import (
    with_narrow_norm,
    with_ones,
    without,
    without_last,
    without_nan,
    without_rotation,
    without_subnormal,
)
from braidcheck.numerics import rope
from braidcheck.op import Case, Inputs, Sweep

SCALE = 2.0**-7  # the largest power of two that brings a norm weight of 8,192 below 100


def inputs(case: Case, device: str) -> Inputs:
    """Q and K as projected; in ``extreme`` K's norm weight is 8,192 and its rows are one-hot."""
    numbers = Numbers(case, device)
    tokens, heads, kv_heads, dim = case["T"], case["Hq"], case["Hkv"], case["D"]
    q, k = numbers.activations(tokens, heads, dim), numbers.activations(tokens, kv_heads, dim)
    k_norm = numbers.norm_weight(dim, peak=K_NORM_MAX)
    if case.profile == "extreme":
        k = torch.zeros_like(k)
        k[..., dim // 3] = 1.0
        k_norm = torch.full_like(k_norm, 8192.0)
    q_norm = numbers.norm_weight(dim, peak=4.0)
    if case.profile == "range":
        q_norm, k_norm = (
            numbers.place(weight.cpu() * numbers.by_row(dim, LARGE, SMALL)) for weight in (q_norm, k_norm)
        )
    given: Inputs = {
        "q": q,
        "k": k,
        "q_norm_weight": q_norm,
        "k_norm_weight": k_norm,
        "cos_sin": rope.rope_table(case["P"], dim, device=device),
        "positions": numbers.positions(tokens, case["P"]),
        "eps": EPS,
    }
    if case.get("scaled"):
        given["k_scale"] = SCALE if case.profile == "extreme" else 1.0
    return given


def _case(
    tokens: int,
    shape: tuple[int, int, int],
    positions: int,
    profile: str = "unit",
    dtype: str = "bfloat16",
    scaled: int = 0,
    large: bool = False,
) -> Case:
    heads, kv_heads, dim = shape
    axes = {"T": tokens, "Hq": heads, "Hkv": kv_heads, "D": dim, "P": positions} | ({"scaled": 1} if scaled else {})
    return Case("qk_norm_rope", axes, dtype, profile, large=large, needs=("k_scale",) if scaled else ())


NANO, QWEN = (6, 2, 64), (16, 8, 128)
CASES = (
    _case(1, NANO, 64),
    _case(0, NANO, 64),
    _case(65, NANO, 4096, "qwen"),
    _case(33, NANO, 4096, "qwen", "float16"),
    _case(33, NANO, 4096, "qwen", "float32"),
    _case(5, QWEN, 40960, "qwen", scaled=1),
    _case(19, (3, 1, 80), 517, "tail"),
    _case(300, (2, 1, 32), 517, "tail", "float16"),
    _case(9, NANO, 300, "tiny"),
    _case(9, NANO, 300, "tiny", "float32"),
    _case(9, NANO, 300, "sparse"),
    _case(9, QWEN, 300, "extreme", "float16", scaled=1),
    _case(9, (5, 5, 64), 300, "extreme", "float16", scaled=1),  # as many heads of k as of q
    _case(9, NANO, 300, "flat"),
    _case(9, NANO, 300, "flat", "float16"),
    _case(56, NANO, 4096, "halfway"),
    _case(56, NANO, 4096, "halfway", "float16"),
    _case(3, NANO, 300, "range"),
    _case(3, NANO, 300, "zero_rows"),
    _case(3, NANO, 300, "zero_rows", "float16"),
    _case(3, NANO, 300, "subnormal"),
    _case(3, NANO, 300, "subnormal", "float16"),
    _case(3, NANO, 300, "nan"),
    _case(4096, QWEN, 40960, "qwen", large=True),
    _case(513, QWEN, 40960, "qwen", "float16", scaled=1, large=True),
)

NEGATIVE_CONTROLS = {
    "without rotation": without_rotation,
    "without norm weights": with_ones("q_norm_weight", "k_norm_weight"),
    "without eps": without("eps", 0.0),
    "without k_scale": without("k_scale", 1.0),
    "without the last dimension": without_last("k"),
    "NaN read as zero": without_nan("q", "k"),
    "subnormal numbers read as zero": without_subnormal("q", "k"),
    "the norms' means in bfloat16": with_narrow_norm("q_norm_weight", "k_norm_weight"),
}

SWEEPS = (
    Sweep(_case(1, (2, 1, 16), 300, "qwen"), ("T",), 1025, 2**16 + 1, far=(4097,), rows=True),
    Sweep(_case(5, (2, 1, 16), 1, "qwen"), ("P",), 4097, 2**17 + 1, far=(32769, 65537)),
    Sweep(_case(5, (1, 1, 16), 30, "tail"), ("Hq",), 33, 65),
    Sweep(_case(5, (2, 1, 2), 30, "tail", "float32"), ("D",), 258, 258, step=2),
)
