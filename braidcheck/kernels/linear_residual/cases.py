"""Inputs, cases and negative controls."""

from __future__ import annotations

import torch

from braidcheck.kernels.common.inputs import Numbers
from braidcheck.kernels.common.negative_controls import through_float16, without_last, without_nan, without_subnormal
from braidcheck.op import Case, Inputs, Sweep


def inputs(case: Case, device: str) -> Inputs:
    """Activations, a weight of unit gain and a residual stream."""
    numbers = Numbers(case, device)
    x = numbers.activations(case["T"], case["K"])
    weight = numbers.weights(case["H"], case["K"])
    if case.profile == "largest":  # the residual is the largest number, the product takes some sums past it
        x = numbers.place(numbers.normal(case["T"], case["K"]).abs() * (torch.finfo(numbers.dtype).max / 16))
        # A column's terms have one sign: no order of the sum overflows where the sum does not.
        weight = weight.abs() * weight[:, :1].sign()
    return {
        "x": x,
        "weight": weight,
        "residual": numbers.activations(case["T"], case["H"], dtype=torch.float32 if case.get("wide") else None),
    }


def _case(
    tokens: int,
    length: int,
    width: int,
    profile: str = "unit",
    dtype: str = "bfloat16",
    wide: int = 0,
    large: bool = False,
) -> Case:
    axes = {"T": tokens, "K": length, "H": width} | ({"wide": 1} if wide else {})
    return Case("linear_residual", axes, dtype, profile, large=large)


CASES = (
    _case(1, 384, 256),
    _case(1, 576, 256, "qwen"),
    _case(1, 1000, 331, "tail"),
    _case(1, 129, 70, "tail", "float16"),
    _case(1, 2048, 128, "cancel"),
    _case(1, 2048, 128, "cancel", "float32"),
    _case(1, 512, 256, "sparse"),
    _case(1, 256, 256, "extreme"),
    _case(0, 384, 256),
    _case(65, 576, 256, "qwen"),
    _case(33, 384, 256, "qwen", "float16"),
    _case(33, 384, 256, "qwen", "float32"),
    _case(3, 3072, 1024, "qwen"),
    _case(7, 1000, 331, "tail"),
    _case(19, 129, 70, "tail", "float16"),
    _case(5, 129, 70, "tail", "float16"),
    _case(19, 1000, 331, "tail"),
    _case(9, 2048, 128, "cancel"),
    _case(9, 2048, 128, "cancel", "float32"),
    _case(9, 512, 256, "sparse"),
    _case(9, 256, 256, "extreme"),
    _case(9, 256, 256, "tiny"),
    _case(130, 264, 264, "tail"),
    _case(66, 1024, 128, "cancel"),
    _case(20, 1088, 40, "tail"),
    _case(66, 1088, 40, "one_sign"),
    _case(130, 1032, 72, "range"),
    _case(577, 64, 256),  # more tiles of rows than GROUP_SIZE_M
    _case(67, 129, 70, "tail", "float16"),
    _case(1, 1024, 64, "one_sign"),
    _case(9, 1024, 64, "one_sign", "float16"),
    _case(64, 1024, 64, "one_sign"),
    _case(66, 1024, 64, "one_sign"),
    _case(3, 256, 64, "range"),
    _case(20, 256, 64, "range"),
    _case(66, 256, 264, "range"),
    _case(3, 256, 64, "zero_rows"),
    _case(20, 256, 64, "zero_rows", "float32"),
    _case(66, 256, 64, "zero_rows"),
    _case(3, 256, 64, "subnormal", "float16"),
    _case(20, 256, 64, "subnormal", "float16"),
    _case(1, 64, 64, "largest"),
    _case(3, 64, 64, "largest", "float16"),
    _case(20, 64, 64, "largest", "float32"),
    _case(66, 64, 264, "largest"),
    _case(1, 256, 64, "zero_rows"),
    _case(1, 256, 64, "nan"),
    _case(3, 256, 64, "nan"),
    _case(20, 256, 64, "nan", "float16"),
    _case(66, 256, 64, "nan"),
    _case(1, 256, 64, "qwen", wide=1),
    _case(3, 256, 64, "tail", "float16", wide=1),
    _case(20, 256, 64, "qwen", "float16", wide=1),
    _case(66, 256, 264, "qwen", wide=1),
    _case(1, 3072, 1024, "qwen", large=True),
    _case(4096, 2048, 1024, "qwen", large=True),
    _case(515, 3072, 1024, "cancel", large=True),
    _case(1100, 2048, 1024, "tail", "float16", large=True),
)

NEGATIVE_CONTROLS = {
    "without residual": lambda given: given | {"residual": torch.zeros_like(given["residual"])},
    "without the last column": without_last("x"),
    "without the last weight row": without_last("weight", 0),
    "NaN read as zero": without_nan("x", "residual"),
    "subnormal numbers read as zero": without_subnormal("x", "residual"),
    "the residual through float16": through_float16("residual"),
    "the residual in x's dtype": lambda given: given | {"residual": given["residual"].to(given["x"].dtype)},
}

SWEEPS = (
    Sweep(_case(1, 64, 128, "qwen"), ("T",), 65, 2**16 + 1, far=(128, 257, 2048), rows=True),
    Sweep(_case(1, 33, 40, "tail", "float16"), ("T",), 65, 2**16 + 1, far=(257,), rows=True),
    Sweep(_case(1, 1032, 16, "tail"), ("T",), 5, 513, far=(65, 129, 257), rows=True),
    Sweep(_case(1, 1, 24, "tail"), ("K",), 257, 4097, far=(1024, 1025, 4096, 4097)),
    Sweep(_case(3, 1, 24, "tail"), ("K",), 257, 4097, far=(1024, 1025, 4097, 8192, 8193)),
    Sweep(_case(3, 24, 1, "tail"), ("H",), 257, 4097, far=(1025,)),
)
