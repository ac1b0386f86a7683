"""Inputs, cases and negative controls."""

from __future__ import annotations

import torch

from braidcheck.kernels.common.inputs import EPS, Numbers
from braidcheck.kernels.common.negative_controls import (
    through_float16,
    with_narrow_norm,
    with_ones,
    without,
    without_last,
    without_nan,
    without_subnormal,
)
from braidcheck.op import Case, Inputs, Sweep


def inputs(case: Case, device: str) -> Inputs:
    """The residual stream and weights of about unit gain."""
    numbers = Numbers(case, device)
    heads, kv_heads, dim = case["Hq"], case["Hkv"], case["D"]
    rows = (heads + 2 * kv_heads) * dim
    given: Inputs = {
        "x": numbers.activations(case["T"], case["H"]),
        "norm_weight": numbers.norm_weight(case["H"], peak=20.0),
        "qkv_weight": numbers.weights(rows, case["H"]),
        "eps": EPS,
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": dim,
    }
    if case.get("bias"):
        given["qkv_bias"] = numbers.place(numbers.normal(rows))
    if case.get("out32"):
        given["out_dtype"] = torch.float32
    return given


def _case(
    tokens: int,
    width: int,
    shape: tuple[int, int, int],
    profile: str = "unit",
    dtype: str = "bfloat16",
    bias: int = 0,
    out32: int = 0,
    large: bool = False,
) -> Case:
    heads, kv_heads, dim = shape
    axes = {"T": tokens, "H": width, "Hq": heads, "Hkv": kv_heads, "D": dim}
    axes |= {name: 1 for name, on in (("bias", bias), ("out32", out32)) if on}
    needs = (("qkv_bias",) if bias else ()) + (("out_dtype",) if out32 else ())
    return Case("rms_norm_qkv", axes, dtype, profile, large=large, needs=needs)


NANO, QWEN, D4_896 = (6, 2, 64), (16, 8, 128), (14, 2, 64)
CASES = (
    _case(1, 256, NANO),
    _case(1, 256, NANO, "qwen", out32=1),
    _case(1, 2100, (2, 1, 32), "qwen"),
    _case(1, 1000, (3, 1, 80), "tail"),
    _case(1, 129, (2, 2, 32), "tail", "float16", bias=1),
    _case(1, 256, NANO, "tiny"),
    _case(1, 256, NANO, "tiny", "float32"),
    _case(1, 512, NANO, "sparse"),
    _case(1, 1024, (2, 1, 64), "cancel"),
    _case(1, 256, NANO, "extreme"),
    _case(0, 256, NANO),
    _case(65, 256, NANO, "qwen"),
    _case(33, 256, NANO, "qwen", "float16"),
    _case(33, 256, NANO, "qwen", "float32", out32=1),
    _case(1, 896, D4_896, "unit", bias=1),
    _case(3, 896, D4_896, "qwen", bias=1, out32=1),
    _case(1, 896, D4_896, "unit", "float32", out32=1),
    _case(1, 1024, QWEN, "unit", "float32", out32=1),
    _case(2, 1024, QWEN, "qwen"),
    _case(7, 1000, (3, 1, 80), "tail"),
    _case(19, 129, (2, 2, 32), "tail", "float16", bias=1),
    _case(20, 1000, (3, 1, 32), "tail"),
    _case(5, 129, (2, 2, 32), "tail", "float16", bias=1),
    _case(9, 256, NANO, "tiny"),
    _case(9, 256, NANO, "tiny", "float32"),
    _case(9, 512, NANO, "sparse"),
    _case(9, 1024, (2, 1, 64), "cancel"),
    _case(9, 1024, (2, 1, 64), "cancel", "float32"),
    _case(9, 256, NANO, "extreme"),
    _case(70, 264, (3, 1, 80), "tail", "float16", bias=1),
    _case(66, 1024, (2, 1, 64), "cancel"),
    _case(66, 129, (2, 2, 32), "tail"),
    _case(67, 256, NANO, "tiny"),
    _case(80, 256, (2, 1, 32), "halfway"),
    _case(80, 256, (2, 1, 32), "halfway", "float16"),
    _case(1, 1024, (2, 1, 32), "one_sign", out32=1),
    _case(1, 1024, (2, 1, 32), "one_sign"),
    _case(9, 1024, (2, 1, 32), "one_sign", out32=1),
    _case(20, 1024, (2, 1, 32), "one_sign", out32=1),
    _case(64, 1024, (2, 1, 32), "one_sign"),
    _case(66, 1024, (2, 1, 32), "one_sign"),
    _case(9, 1000, (2, 1, 32), "one_sign", "float16"),
    _case(1, 256, (2, 1, 32), "range"),
    _case(3, 256, (2, 1, 32), "range"),
    _case(20, 256, (2, 1, 32), "range", out32=1),
    _case(66, 256, (4, 2, 32), "range"),
    _case(3, 256, (2, 1, 32), "zero_rows"),
    _case(20, 256, (2, 1, 32), "zero_rows", "float16"),
    _case(66, 256, (2, 1, 32), "zero_rows"),
    _case(3, 256, (2, 1, 32), "subnormal", "float16"),
    _case(1, 256, (2, 1, 32), "zero_rows"),
    _case(1, 256, (2, 1, 32), "nan"),
    _case(3, 256, (2, 1, 32), "nan"),
    _case(20, 256, (2, 1, 32), "nan", "float32"),
    _case(66, 256, (2, 1, 32), "nan"),
    _case(1, 1024, QWEN, "qwen", large=True),
    _case(4096, 1024, QWEN, "qwen", large=True),
    _case(300, 896, D4_896, "tail", "float16", bias=1, large=True),
)

NEGATIVE_CONTROLS = {
    "without norm weight": with_ones("norm_weight"),
    "without eps": without("eps", 0.0),
    "without bias": without("qkv_bias"),
    "without the last column": without_last("x"),
    "without the last weight row": without_last("qkv_weight", 0),
    "NaN read as zero": without_nan("x"),
    "subnormal numbers read as zero": without_subnormal("x"),
    "the norm's mean in bfloat16": with_narrow_norm("norm_weight"),
    "the weight through float16": through_float16("qkv_weight"),
}

SWEEPS = (
    Sweep(_case(1, 64, (4, 2, 16), "qwen"), ("T",), 65, 2**16 + 1, far=(128, 257, 2048), rows=True),
    Sweep(_case(1, 33, (2, 1, 16), "tail", "float16", bias=1), ("T",), 65, 2**16 + 1, far=(257,), rows=True),
    Sweep(_case(1, 1, (2, 1, 16), "tail"), ("H",), 257, 4097, far=(1024, 1025, 4096, 4097)),
    Sweep(_case(3, 1, (2, 1, 16), "tail"), ("H",), 257, 2049, far=(1024, 1025, 2049)),
    Sweep(_case(3, 40, (1, 1, 16), "tail", "float32"), ("Hq",), 33, 65),
)
