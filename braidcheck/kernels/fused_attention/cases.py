"""Inputs, cases and negative controls."""

from __future__ import annotations

import torch

from braidcheck.kernels.common.inputs import EPS, FLATTER, K_NORM_MAX, PAST_16_BITS, Numbers
from braidcheck.kernels.common.negative_controls import (
    through_float16,
    with_ones,
    without,
    without_last,
    without_nan,
    without_rotation,
)
from braidcheck.numerics import rope
from braidcheck.op import Case, Inputs, Sweep


def inputs(case: Case, device: str) -> Inputs:
    """A residual stream, weights, and a cache filled up to each row's new tokens; the rest of it is NaN."""
    numbers = Numbers(case, device)
    tokens, batch, capacity, width = case["T"], case["B"], case["S"], case["H"]
    heads, kv_heads, dim = case["Hq"], case["Hkv"], case["D"]
    given: Inputs = {
        "hidden": numbers.activations(tokens, width),
        "norm_weight": numbers.norm_weight(width, peak=20.0),
        "qkv_weight": numbers.weights((heads + 2 * kv_heads) * dim, width),
        "q_norm_weight": numbers.norm_weight(dim, peak=0.3),
        "k_norm_weight": numbers.norm_weight(dim, peak=K_NORM_MAX),
        "o_weight": numbers.weights(width, heads * dim),
        "cos_sin": rope.rope_table(max(capacity, 64), dim, device=device),
    }
    if case.profile == "halfway":
        given |= _parts_as_heads(case, numbers)
    if tokens == batch:
        lengths = torch.randint(1, capacity + 1, (batch,), generator=numbers.generator)
        lengths[-1] = capacity
        filled, positions = lengths - 1, lengths - 1
    else:
        lengths = torch.tensor([tokens + case.get("start")])
        filled, positions = torch.tensor([case.get("start")]), torch.arange(tokens) + case.get("start")
    k, v = numbers.normal(batch, capacity, kv_heads, dim), numbers.normal(batch, capacity, kv_heads, dim)
    if not case.get("raw"):
        k = k * given["k_norm_weight"].float().cpu()  # as norm and RoPE would leave it
    empty = torch.arange(capacity)[None, :] >= filled[:, None]
    k[empty], v[empty] = float("nan"), float("nan")
    return given | {
        "positions": positions.to(device),
        "k_cache": numbers.place(k),
        "v_cache": numbers.place(v),
        "lengths": lengths.to(device),
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": dim,
        "eps": EPS,
        "scale": dim**-0.5,
        **({"cache": "pre_rope"} if case.get("raw") else {}),
    }


def _parts_as_heads(case: Case, numbers: Numbers) -> Inputs:
    """Arguments for which each head is a part of the normalised residual stream, and halfway as this is."""
    tokens, heads, kv_heads, dim = case["T"], case["Hq"], case["Hkv"], case["D"]
    normed = numbers.activations(tokens, heads + kv_heads, dim, dtype=torch.float32).flatten(1).cpu()
    v = numbers.normal(tokens, kv_heads * dim)
    count = normed.shape[1] + v.shape[1]
    v *= ((count - normed.square().sum(1)) / v.square().sum(1)).sqrt()[:, None]  # then the mean of all squares is 1
    hidden = torch.cat([normed, v], 1) * numbers.rms_halfway(tokens)
    return {
        "hidden": numbers.place(hidden[:, : case["H"]]),
        "norm_weight": numbers.place(torch.ones(case["H"])),
        "qkv_weight": numbers.place(torch.eye(count, case["H"])),
        "q_norm_weight": numbers.norm_weight(dim) / FLATTER,
    }


def _case(
    tokens: int,
    batch: int,
    capacity: int,
    width: int,
    shape: tuple[int, int, int],
    profile: str = "unit",
    dtype: str = "bfloat16",
    raw: int = 0,
    start: int = 0,
    large: bool = False,
) -> Case:
    heads, kv_heads, dim = shape
    axes = {"T": tokens, "B": batch, "S": capacity, "H": width, "Hq": heads, "Hkv": kv_heads, "D": dim}
    axes |= {name: size for name, size in (("raw", raw), ("start", start)) if size}
    return Case("fused_attention", axes, dtype, profile, large=large, needs=("cache",) if raw else ())


NANO, QWEN = (6, 2, 64), (16, 8, 128)
CASES = (
    _case(1, 1, 1, 256, NANO),
    _case(65, 1, 80, 256, NANO, "qwen"),
    _case(65, 1, 80, 256, NANO, "qwen", raw=1),
    _case(40, 1, 400, 256, NANO, "qwen", start=301),
    _case(40, 1, 400, 256, NANO, "qwen", start=301, raw=1),
    _case(24, 1, 600, 256, NANO, "unit", start=560),
    _case(3, 3, 130, 256, NANO, "qwen"),
    _case(3, 3, 130, 256, NANO, "qwen", raw=1),
    _case(4, 4, 300, 256, NANO, "unit", "float16"),
    _case(130, 1, 130, 256, NANO, "unit", "float16"),
    _case(33, 1, 33, 256, NANO, "qwen", "float32"),
    _case(33, 1, 33, 256, NANO, "qwen", "float32", raw=1),
    _case(19, 1, 67, 100, (3, 1, 80), "tail", start=7),
    _case(5, 5, 67, 129, (5, 5, 32), "tail", "float16", raw=1),
    _case(17, 1, 17, 256, (2, 1, 64), "tiny"),
    _case(17, 1, 17, 512, (2, 1, 64), "cancel", "float32"),
    _case(3, 3, 67, 256, (2, 1, 32), "one_sign"),
    _case(64, 1, 64, 1024, (2, 1, 32), "one_sign"),
    _case(20, 1, 20, 32, (48, 1, 64), "one_sign"),  # a long output projection: shows its narrow accumulation
    _case(20, 1, 20, 32, (48, 1, 64), "one_sign", "float16"),
    _case(192, 192, 5, 256, (2, 1, 64), "halfway"),
    _case(192, 192, 5, 256, (2, 1, 64), "halfway", "float16"),
    _case(3, 3, 67, 256, (2, 1, 32), "range"),
    _case(19, 1, 67, 256, (2, 1, 32), "range", raw=1),
    _case(3, 3, 67, 256, (2, 1, 32), "zero_rows"),
    _case(19, 1, 67, 256, (2, 1, 32), "zero_rows", "float16", start=7),
    _case(3, 3, 67, 256, (2, 1, 32), "nan"),
    _case(3, 3, 67, 256, (2, 1, 32), "nan", "float32", raw=1),
    _case(512, 1, 700, 1024, QWEN, "qwen", large=True),
    _case(512, 1, 700, 1024, QWEN, "qwen", raw=1, start=100, large=True),
    _case(16, 16, 2048, 1024, QWEN, "qwen", large=True),
    _case(8, 8, 4096, 1024, QWEN, "qwen", raw=1, large=True),
    _case(1, 1, 40960, 1024, QWEN, "unit", large=True),
)

NEGATIVE_CONTROLS = {
    "without norm weight": with_ones("norm_weight"),
    "without head norm weights": with_ones("q_norm_weight", "k_norm_weight"),
    "without eps": without("eps", 0.0),
    "without rotation": without_rotation,
    "without scale": without("scale", 1.0),
    "without the last column": without_last("hidden"),
    "without the last head's last dimension": without_last("o_weight"),
    "the other cache form": lambda given: given | {"cache": "post_rope" if "cache" in given else "pre_rope"},
    "NaN read as zero": without_nan("hidden"),
    "the output weight through float16": through_float16("o_weight"),
}


def ragged(case: Case, device: str) -> Inputs:
    """A decode step of very different lengths: full, half, of the new token alone, one slot less than full."""
    given = inputs(case, device)
    full = torch.full_like(given["lengths"], case["S"])
    own = torch.stack([full, (full + 1) // 2, full * 0 + 1, (full - 1).clamp_min(1)], dim=1).flatten()[: len(full)]
    caches = {name: given[name].nan_to_num(0.5) for name in ("k_cache", "v_cache")}
    caches["v_cache"][:, case["S"] // 2 :] += 4  # if all had one mean, the newest of many would hardly count
    return given | caches | {"lengths": own, "positions": own - 1}


SMALL = (2, 1, 16)
SWEEPS = (
    Sweep(_case(1, 1, 70, 24, SMALL, "qwen"), ("T", "B"), 9, 1025, far=(16, 17, 33), rows=True),
    Sweep(
        _case(4, 4, 1, 24, SMALL, "unit"), ("S",), 17, 8193, far=(64, 256, 257, 1025, 6145, PAST_16_BITS), inputs=ragged
    ),
    Sweep(_case(4, 4, 1, 24, SMALL, "tail", raw=1), ("S",), 17, 4097, far=(256, 513), inputs=ragged),
    Sweep(_case(1, 1, 1, 24, SMALL, "qwen"), ("T", "S"), 65, 2049, far=(256, 257)),
    Sweep(_case(40, 1, 600, 24, SMALL, "qwen", start=1), ("start",), 65, 513, far=(256, 512)),
    Sweep(_case(20, 1, 300, 24, SMALL, "tail", raw=1, start=1), ("start",), 17, 257, far=(64, 256)),
    Sweep(_case(1, 1, 5, 1, SMALL, "tail"), ("H",), 257, 1025, far=(1025,)),
)
