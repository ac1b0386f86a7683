"""Inputs, cases and negative controls."""

from __future__ import annotations

import torch

from braidcheck.kernels.common.inputs import (
    FAR_BELOW,
    K_NORM_MAX,
    LARGE,
    PAST_16_BITS,
    SMALL,
    SUBNORMAL,
    Numbers,
    alternating,
)
from braidcheck.kernels.common.negative_controls import (
    through_float16,
    without,
    without_last,
    without_nan,
    without_subnormal,
)
from braidcheck.op import Case, Inputs, Sweep


def inputs(case: Case, device: str) -> Inputs:
    """Ragged lengths, one of them full; slots past a length hold NaN."""
    numbers = Numbers(case, device)
    batch, capacity, heads, kv_heads, dim = (case[name] for name in ("B", "S", "Hq", "Hkv", "D"))
    lengths = torch.randint(0 if case.get("empty") else 1, capacity + 1, (batch,), generator=numbers.generator)
    if batch:
        lengths[-1] = capacity
    if case.get("empty"):
        lengths[0] = 0
    q, k = numbers.normal(batch, heads, dim), numbers.normal(batch, capacity, kv_heads, dim)
    v = numbers.normal(batch, capacity, kv_heads, dim)
    if case.profile == "qwen":
        channels = torch.randperm(dim, generator=numbers.generator)[: dim // 16]
        k[..., channels] *= K_NORM_MAX
        q[..., channels] *= 0.1
    if case.profile == "extreme":
        q, k, v = 8 * q, 8 * k, 100 * v
    if case.profile == "cancel":
        v = v.abs() * alternating(capacity, case.get("halves"))[:, None, None] * 100
        q *= 0.05
    if case.profile == "one_sign":  # every score is negative: no key past the length may count as one of 0
        q, k, v = q.abs(), -k.abs(), v.abs()
    if case.profile == "steep":  # every score is far below any finite number that may stand for minus infinity
        q, k, v = FAR_BELOW * (q.abs() + 1), -(k.abs() + 1), v.abs() + 1
    if case.profile == "range":
        v *= numbers.by_row(dim, LARGE, SMALL)
    if case.profile == "zero_rows":
        q *= numbers.by_row(batch, 0.0, 1.0, 3)
        v *= numbers.by_row(capacity, 1.0, 0.0, 3)
    if case.profile == "subnormal":
        q, v = q * SUBNORMAL[case.dtype], v * SUBNORMAL[case.dtype]
    if case.profile == "largest":
        v = v.sign() * torch.finfo(numbers.dtype).max
    if case.profile == "nan":  # one head of one row, and the last key of another
        q[batch // 2, 0, 0] = k[-1, -1, -1, -1] = float("nan")
    unwritten = torch.arange(capacity)[None, :] >= lengths[:, None]
    k[unwritten], v[unwritten] = float("nan"), float("nan")
    return {
        "q": numbers.place(q),
        "k_cache": numbers.place(k),
        "v_cache": numbers.place(v),
        "lengths": lengths.to(device),
        "scale": dim**-0.5,
    }


def _case(
    batch: int,
    capacity: int,
    shape: tuple[int, int, int],
    profile: str = "unit",
    dtype: str = "bfloat16",
    empty: int = 0,
    halves: int = 0,
    large: bool = False,
) -> Case:
    heads, kv_heads, dim = shape
    axes = {"B": batch, "S": capacity, "Hq": heads, "Hkv": kv_heads, "D": dim} | ({"empty": 1} if empty else {})
    axes |= {"halves": 1} if halves else {}
    return Case("attention_decode", axes, dtype, profile, large=large)


NANO, QWEN = (6, 2, 64), (16, 8, 128)
CASES = (
    _case(1, 1, NANO),
    _case(1, 700, NANO, "qwen"),
    _case(3, 300, NANO, "qwen", "float16"),
    _case(3, 300, NANO, "qwen", "float32"),
    _case(4, 2100, NANO, "qwen", empty=1),
    _case(2, 130, QWEN, "qwen"),
    _case(3, 67, (3, 1, 80), "tail"),
    _case(3, 67, (5, 5, 32), "tail", "float16"),
    _case(2, 67, (8, 1, 16), "tail", "float32"),
    _case(2, 300, NANO, "extreme"),
    _case(2, 1200, NANO, "cancel"),
    _case(2, 1200, NANO, "cancel", "float32"),
    _case(1, 4800, NANO, "cancel", halves=1),
    _case(3, 67, NANO, "one_sign"),
    _case(2, 300, NANO, "one_sign", "float16"),
    _case(3, 67, NANO, "steep", "float32"),
    _case(3, 67, NANO, "steep"),
    _case(3, 67, NANO, "range"),
    _case(3, 67, NANO, "zero_rows"),
    _case(3, 67, NANO, "zero_rows", "float16"),
    _case(3, 67, NANO, "subnormal", "float16"),
    _case(3, 67, NANO, "largest", "float16"),
    _case(3, 67, NANO, "nan"),
    _case(3, 67, NANO, "nan", "float32"),
    _case(1, 32768, QWEN, "qwen", large=True),
    _case(1, 40960, QWEN, "cancel", large=True),
    _case(16, 4096, QWEN, "qwen", empty=1, large=True),
)

NEGATIVE_CONTROLS = {
    "without scale": without("scale", 1.0),
    "without the newest key": lambda given: given | {"lengths": (given["lengths"] - 1).clamp_min(0)},
    "all rows as long as the first": lambda given: (
        given | {"lengths": given["lengths"][:1].expand_as(given["lengths"])}
    ),
    "without the last value dimension": without_last("v_cache"),
    "interleaved GQA mapping": lambda given: given | {name: given[name].flip(2) for name in ("k_cache", "v_cache")},
    "NaN read as zero": without_nan("q", "k_cache"),
    "subnormal values read as zero": without_subnormal("v_cache"),
    "values through float16": through_float16("v_cache"),
}


def ragged(case: Case, device: str) -> Inputs:
    """Rows of very different lengths: full, half, empty, one slot less than full; the newest value outweighs all."""
    given = inputs(case, device)
    full = torch.full_like(given["lengths"], case["S"])
    own = torch.stack([full, full // 2, full * 0, full - 1], dim=1).flatten()[: len(full)]
    given |= {"lengths": own, **{name: given[name].nan_to_num(0.5) for name in ("k_cache", "v_cache")}}
    given["v_cache"][torch.arange(len(own)), (own - 1).clamp_min(0)] *= case["S"]
    return given


SPLIT = 530  # slots: more than one split takes, in the interpreter too
SWEEPS = (
    Sweep(_case(1, SPLIT, (2, 1, 16), "qwen"), ("B",), 5, 4097, far=(17, 33, 65), rows=True),
    Sweep(
        _case(4, 1, (2, 1, 16), "qwen"),
        ("S",),
        257,
        8193,
        far=(513, 1024, 1025, 4096, 6145, PAST_16_BITS),
        inputs=ragged,
    ),
    Sweep(_case(2, 70, (1, 1, 16), "tail"), ("Hq",), 33, 65),
    Sweep(_case(2, 70, (2, 1, 16), "tail", "float16"), ("D",), 128, 256, far=(256,), step=8),
)
