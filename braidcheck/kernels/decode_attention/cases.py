"""Inputs, cases and negative controls."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.common.inputs import (
    EPS,
    FAR_BELOW,
    FLATTER,
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


def inputs(case: Case, device: str) -> Inputs:
    """Q, K and V as projected, ragged rows, one of them full; slots that are not filled hold NaN."""
    numbers = Numbers(case, device)
    batch, capacity, heads, kv_heads, dim = (case[name] for name in ("B", "S", "Hq", "Hkv", "D"))
    projected = torch.float32 if case.get("wide") else None
    positions = torch.randint(0, capacity, (batch,), generator=numbers.generator)
    if batch:
        positions[-1] = capacity - 1
    k_norm = numbers.norm_weight(dim, peak=K_NORM_MAX)
    q, new_k = (numbers.activations(batch, count, dim, dtype=projected) for count in (heads, kv_heads))
    new_v = numbers.normal(batch, kv_heads, dim)
    k = numbers.normal(batch, capacity, kv_heads, dim) * k_norm.float().cpu()  # as norm and RoPE would leave it
    v = numbers.normal(batch, capacity, kv_heads, dim)
    if case.profile == "cancel":
        signs = alternating(capacity, case.get("halves"))[:, None, None]
        flat = 0.005 if case.get("halves") else 0.05  # scores whose rounding hides no rounded part
        k, v = flat * k, v.abs() * signs * 100
    if case.profile == "extreme":
        v, new_v = 100 * v, 100 * new_v
    q_norm = numbers.norm_weight(dim, peak=0.3)
    if case.profile == "halfway":
        q_norm /= FLATTER
    if case.profile in ("one_sign", "flat"):
        v, new_v = v.abs(), new_v.abs()
    if case.profile == "range":  # scores keep their size: the scale of a channel of Q is the inverse of K's
        channels = numbers.by_row(dim, LARGE, SMALL)
        q_norm, k_norm = numbers.place(q_norm.cpu() / channels), numbers.place(k_norm.cpu() * channels)
        k, v, new_v = k * channels, v * channels, new_v * channels
    if case.profile == "zero_rows":
        v, new_v = v * numbers.by_row(capacity, 0.0, 1.0, 3), new_v * numbers.by_row(batch, 0.0, 1.0, 3)
    if case.profile == "subnormal":
        v, new_v = v * SUBNORMAL[case.dtype], new_v * SUBNORMAL[case.dtype]
    if case.profile == "nan":
        new_v[-1, -1, -1] = float("nan")
    if case.profile == "steep":
        q, new_k, k = _opposed(case, numbers, new_k, positions)
        q_norm = k_norm = numbers.place(torch.full((dim,), FAR_BELOW**0.5))
        v, new_v = v.abs() + 1, new_v.abs() + 1
    unwritten = torch.arange(capacity)[None, :] >= positions[:, None]
    k[unwritten], v[unwritten] = float("nan"), float("nan")
    return {
        "q": q,
        "k": new_k,
        "v": numbers.place(new_v, projected),
        "q_norm_weight": q_norm,
        "k_norm_weight": k_norm,
        "cos_sin": rope.rope_table(max(capacity, 64), dim, device=device),
        "positions": positions.to(device),
        "k_cache": numbers.place(k),
        "v_cache": numbers.place(v),
        "eps": EPS,
        "scale": dim**-0.5,
    }


def _opposed(case: Case, numbers: Numbers, new_k: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, and new and cached keys of the opposite direction: every score is far below any finite number that may
    stand for minus infinity."""
    heads = new_k.float().cpu()
    table = rope.rope_table(max(case["S"], 64), case["D"])
    rotated = rope.rotate(rope.head_norm(heads, torch.full((case["D"],), FAR_BELOW**0.5), EPS), table, positions)
    k = -(0.5 + numbers.normal(case["B"], case["S"], case["Hkv"], 1).abs()) * rotated[:, None]
    return (new_k.repeat_interleave(case["Hq"] // case["Hkv"], 1), -new_k, k)


def _case(
    batch: int,
    capacity: int,
    shape: tuple[int, int, int],
    profile: str = "unit",
    dtype: str = "bfloat16",
    wide: int = 0,
    halves: int = 0,
    large: bool = False,
) -> Case:
    heads, kv_heads, dim = shape
    axes = {"B": batch, "S": capacity, "Hq": heads, "Hkv": kv_heads, "D": dim} | ({"wide": 1} if wide else {})
    axes |= {"halves": 1} if halves else {}
    return Case("decode_attention", axes, dtype, profile, large=large)


NANO, QWEN = (6, 2, 64), (16, 8, 128)
CASES = (
    _case(1, 1, NANO),
    _case(1, 700, NANO, "qwen", wide=1),
    _case(3, 300, NANO, "qwen", "float16"),
    _case(3, 300, NANO, "qwen", "float32"),
    _case(4, 1300, NANO, "qwen"),
    _case(2, 130, QWEN, "qwen", wide=1),
    _case(3, 67, (3, 1, 80), "tail"),
    _case(3, 67, (5, 5, 32), "tail", "float16", wide=1),
    _case(2, 67, (8, 1, 16), "tail", "float32"),
    _case(2, 300, NANO, "tiny"),
    _case(3, 67, NANO, "steep"),
    _case(3, 67, NANO, "steep", "float32"),
    _case(2, 300, NANO, "tiny", "float32"),
    _case(2, 300, NANO, "extreme"),
    _case(2, 1200, NANO, "cancel"),
    _case(2, 1200, NANO, "cancel", "float32"),
    _case(1, 4800, NANO, "cancel", halves=1),
    _case(3, 67, NANO, "flat"),
    _case(3, 67, NANO, "flat", "float16", wide=1),
    _case(80, 5, (2, 1, 64), "halfway"),
    _case(80, 5, (2, 1, 64), "halfway", "float16"),
    _case(3, 67, NANO, "range"),
    _case(3, 67, NANO, "zero_rows"),
    _case(3, 67, NANO, "zero_rows", "float16"),
    _case(3, 67, NANO, "subnormal", "float16"),
    _case(3, 67, NANO, "nan"),
    _case(3, 67, NANO, "nan", "float32"),
    _case(1, 32768, QWEN, "qwen", wide=1, large=True),
    _case(1, 40960, QWEN, "cancel", large=True),
    _case(16, 4096, QWEN, "qwen", wide=1, large=True),
)

NEGATIVE_CONTROLS = {
    "without rotation": without_rotation,
    "without norm weights": with_ones("q_norm_weight", "k_norm_weight"),
    "without eps": without("eps", 0.0),
    "without scale": without("scale", 1.0),
    "without the last dimension": without_last("k"),
    "without the last value dimension": without_last("v"),
    "interleaved GQA mapping": lambda given: given | {name: given[name].flip(2) for name in ("k_cache", "v_cache")},
    "NaN read as zero": without_nan("v"),
    "subnormal values read as zero": without_subnormal("v"),
    "the norms' means in bfloat16": with_narrow_norm("q_norm_weight", "k_norm_weight"),
    "values through float16": through_float16("v"),
}


def at_borders(case: Case, device: str) -> Inputs:
    """Rows of whole blocks and of one key more; the value cached last outweighs all."""
    return _of_lengths(inputs(case, device), torch.tensor(BLOCK_BORDERS).repeat(case["B"])[: case["B"]])


def ragged(case: Case, device: str) -> Inputs:
    """Rows of very different lengths: full, half, of the new token alone, one slot less than full; the value cached
    last outweighs all."""
    given = inputs(case, device)
    last = torch.full_like(given["positions"], case["S"] - 1)
    return _of_lengths(given, torch.stack([last, last // 2, last * 0, (last - 1).clamp_min(0)], dim=1).flatten())


def _of_lengths(given: Inputs, lengths: Tensor) -> Inputs:
    positions = lengths[: len(given["positions"])].to(given["positions"])
    given |= {"positions": positions, **{name: given[name].nan_to_num(0.5) for name in ("k_cache", "v_cache")}}
    rows = torch.arange(len(positions), device=positions.device)
    given["v_cache"][rows, (positions - 1).clamp_min(0)] *= given["v_cache"].shape[1]
    return given


BLOCK_BORDERS = 256, 257, 64, 65, 128, 129, 0  # cached keys
SPLIT = 300  # slots: more than one split takes, in the interpreter too
SWEEPS = (
    Sweep(_case(1, SPLIT, (2, 1, 16)), ("B",), 5, 4097, (17, 33, 65), rows=True, inputs=at_borders),
    Sweep(_case(1, 1, (2, 1, 16), "qwen", wide=1), ("S",), 257, 8193, far=(1025, 4097, PAST_16_BITS)),
    Sweep(_case(4, 1, (2, 1, 16)), ("S",), 17, 8193, far=(128, 129, 512, 1025, 4096, 6145), inputs=ragged),
    Sweep(_case(2, 70, (1, 1, 16), "tail"), ("Hq",), 33, 65),
    Sweep(_case(2, 70, (2, 1, 16), "tail", "float16"), ("D",), 128, 256, far=(256,), step=8),
)
