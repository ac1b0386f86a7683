"""Inputs, cases and negative controls."""

from __future__ import annotations

import torch

from braidcheck.kernels.common.inputs import EPS, K_NORM_MAX, Numbers
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
    """A normalised x (of the weight's dtype if ``narrow``), weights of about unit gain, the table up to position P."""
    numbers = Numbers(case, device)
    heads, kv_heads, dim = case["Hq"], case["Hkv"], case["D"]
    given: Inputs = {
        "x": numbers.activations(case["T"], case["H"], dtype=None if case.get("narrow") else torch.float32),
        "qkv_weight": numbers.weights((heads + 2 * kv_heads) * dim, case["H"]),
        "cos_sin": rope.rope_table(case["P"], dim, device=device),
        "positions": numbers.positions(case["T"], case["P"]),
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": dim,
    }
    if case.profile == "halfway":  # each head is a part of x
        x = numbers.activations(case["T"], heads + 2 * kv_heads, dim, dtype=given["x"].dtype).flatten(1)
        given |= {"x": x[:, : case["H"]], "qkv_weight": numbers.place(torch.eye(x.shape[1], case["H"]))}
    if case.get("bias"):
        given["qkv_bias"] = numbers.place(numbers.normal((heads + 2 * kv_heads) * dim))
    if case.get("norm"):
        given |= {
            "q_norm_weight": numbers.norm_weight(dim, peak=4.0),
            "k_norm_weight": numbers.norm_weight(dim, peak=K_NORM_MAX),
            "eps": EPS,
        }
    return given


def _case(
    tokens: int,
    width: int,
    shape: tuple[int, int, int],
    positions: int,
    profile: str = "unit",
    dtype: str = "bfloat16",
    norm: int = 1,
    bias: int = 0,
    narrow: int = 0,
    large: bool = False,
) -> Case:
    heads, kv_heads, dim = shape
    axes = {"T": tokens, "H": width, "Hq": heads, "Hkv": kv_heads, "D": dim, "P": positions}
    axes |= {"narrow": 1} if narrow else {}
    needs: tuple[str, ...] = ()
    if norm:
        axes["norm"] = 1
        needs += "q_norm_weight", "k_norm_weight", "eps"
    if bias:
        axes["bias"] = 1
        needs += ("qkv_bias",)
    return Case("qkv_rope", axes, dtype, profile, large=large, needs=needs)


NANO, QWEN = (6, 2, 64), (16, 8, 128)
CASES = (
    _case(1, 256, NANO, 64),
    _case(0, 256, NANO, 64),
    _case(65, 256, NANO, 4096, "qwen"),
    _case(33, 256, NANO, 4096, "qwen", "float16"),
    _case(33, 256, NANO, 4096, "qwen", "float32"),
    _case(5, 1024, QWEN, 40960, "qwen"),
    _case(19, 1000, (3, 1, 80), 517, "tail"),
    _case(19, 896, (14, 2, 64), 517, "tail", bias=1, norm=0),
    _case(7, 264, (2, 2, 32), 300, "tail", "float16", bias=1),
    _case(9, 256, NANO, 300, "tiny"),
    _case(9, 256, NANO, 300, "tiny", "float32"),
    _case(9, 512, NANO, 300, "sparse"),
    _case(9, 1024, (2, 1, 64), 300, "cancel"),
    _case(9, 1024, (2, 1, 64), 300, "cancel", "float32", norm=0),
    _case(9, 256, NANO, 300, "extreme", norm=0),
    _case(70, 264, (3, 1, 32), 300, "tail", "float16", norm=0, bias=1),
    _case(66, 264, (3, 2, 64), 517, "tail", narrow=1),
    _case(70, 264, (4, 2, 32), 300, "tail", "float16", bias=1),
    _case(66, 1024, (2, 1, 64), 300, "cancel"),
    _case(66, 129, (2, 1, 80), 517, "tail"),
    _case(67, 256, NANO, 300, "tiny"),
    _case(9, 256, NANO, 300, "qwen", narrow=1),
    _case(1, 1024, (2, 1, 32), 300, "one_sign", norm=0),
    _case(9, 1024, (2, 1, 32), 300, "one_sign", norm=0, narrow=1),
    _case(64, 256, (2, 1, 32), 300, "one_sign"),
    _case(66, 264, (2, 1, 32), 300, "one_sign", "float16"),
    _case(80, 256, (2, 1, 64), 300, "halfway"),
    _case(80, 256, (2, 1, 64), 300, "halfway", "float16", narrow=1),
    _case(3, 256, (2, 1, 32), 300, "range", norm=0),
    _case(20, 256, (2, 1, 32), 300, "range"),
    _case(66, 256, (2, 1, 32), 300, "range"),
    _case(3, 256, (2, 1, 32), 300, "zero_rows"),
    _case(20, 256, (2, 1, 32), 300, "zero_rows", "float32"),
    _case(66, 256, (2, 1, 32), 300, "zero_rows"),
    _case(1, 256, (2, 1, 32), 300, "zero_rows"),
    _case(1, 256, (2, 1, 32), 300, "nan"),
    _case(3, 256, (2, 1, 32), 300, "nan"),
    _case(20, 256, (2, 1, 32), 300, "nan", "float16"),
    _case(66, 256, (2, 1, 32), 300, "nan"),
    _case(1, 1024, QWEN, 40960, "qwen", large=True),
    _case(513, 1024, QWEN, 40960, "qwen", large=True),
    _case(4096, 1024, QWEN, 40960, "qwen", large=True),
    _case(4096, 1024, QWEN, 40960, "qwen", narrow=1, large=True),
    _case(300, 1024, QWEN, 40960, "tail", "float16", norm=0, bias=1, large=True),
)

NEGATIVE_CONTROLS = {
    "without rotation": without_rotation,
    "without norms": lambda given: given | dict.fromkeys(("q_norm_weight", "k_norm_weight")),
    "without norm weights": with_ones("q_norm_weight", "k_norm_weight"),
    "without eps": without("eps", 0.0),
    "without bias": without("qkv_bias"),
    "without the last column": without_last("x"),
    "without the last weight row": without_last("qkv_weight", 0),
    "NaN read as zero": without_nan("x"),
    "the weight through float16": through_float16("qkv_weight"),
}

SWEEPS = (
    Sweep(_case(1, 64, (2, 1, 32), 300, "qwen", narrow=1), ("T",), 65, 2**16 + 1, far=(128, 257, 2048), rows=True),
    Sweep(_case(1, 33, (2, 1, 16), 300, "tail", "float16", bias=1), ("T",), 65, 2**16 + 1, far=(257,), rows=True),
    Sweep(_case(3, 1, (2, 1, 16), 300, "tail"), ("H",), 257, 4097, far=(1025, 2049)),
    Sweep(_case(5, 40, (2, 1, 16), 1, "qwen"), ("P",), 257, 2**17 + 1, far=(4096, 4097, 32769, 65537)),
    Sweep(_case(3, 40, (1, 1, 16), 300, "tail", "float32"), ("Hq",), 17, 65),
)
