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
    """The residual stream after the last layer, and an embedding as weight."""
    numbers = Numbers(case, device)
    return {
        "x": numbers.activations(case["T"], case["H"]),
        "norm_weight": numbers.norm_weight(case["H"], peak=10.0),
        "weight": numbers.weights(case["V"], case["H"]),
        "eps": EPS,
        **({"argmax": True} if case.get("argmax") else {}),
    }


def _case(
    tokens: int,
    width: int,
    vocab: int,
    profile: str = "unit",
    dtype: str = "bfloat16",
    argmax: int = 0,
    large: bool = False,
) -> Case:
    axes = {"T": tokens, "H": width, "V": vocab} | ({"argmax": 1} if argmax else {})
    return Case("lm_head", axes, dtype, profile, large=large, needs=("argmax",) if argmax else ())


CASES = (
    _case(1, 256, 1024),
    _case(1, 256, 1024, "qwen", "float16"),
    _case(1, 2100, 70, "qwen"),
    _case(1, 1000, 331, "tail"),
    _case(1, 256, 512, "tiny", "float32"),
    _case(1, 1024, 128, "cancel"),
    _case(1, 512, 256, "sparse"),
    _case(1, 256, 128, "extreme"),
    _case(1, 256, 1500, "qwen", argmax=1),
    _case(1, 1000, 331, "tail", "float16", argmax=1),
    _case(0, 256, 1024),
    _case(65, 256, 1024, "qwen"),
    _case(33, 256, 1024, "qwen", "float16"),
    _case(33, 256, 1024, "qwen", "float32"),
    _case(7, 1000, 331, "tail"),
    _case(9, 1024, 128, "cancel"),
    _case(9, 1024, 128, "cancel", "float32"),
    _case(9, 256, 512, "tiny"),
    _case(9, 256, 128, "tiny", "float32"),
    _case(9, 512, 256, "sparse"),
    _case(9, 256, 128, "extreme"),
    _case(33, 256, 1024, "qwen", argmax=1),
    _case(7, 1000, 331, "tail", "float16", argmax=1),
    _case(9, 256, 128, "unit", "float32", argmax=1),
    _case(80, 256, 96, "halfway"),
    _case(80, 256, 96, "halfway", "float16"),
    _case(1, 1024, 70, "one_sign"),
    _case(9, 1024, 70, "one_sign"),
    _case(64, 1024, 70, "one_sign"),
    _case(66, 1000, 70, "one_sign", "float16"),
    _case(1, 256, 331, "one_sign", argmax=1),
    _case(9, 256, 1100, "one_sign", argmax=1),
    _case(9, 256, 331, "one_sign", "float16", argmax=1),
    _case(1, 256, 70, "range"),
    _case(9, 256, 70, "range"),
    _case(3, 256, 70, "zero_rows"),
    _case(3, 256, 331, "zero_rows", argmax=1),
    _case(66, 256, 70, "zero_rows", "float16"),
    _case(3, 256, 70, "subnormal", "float16"),
    _case(1, 256, 70, "zero_rows"),
    _case(1, 256, 70, "nan"),
    _case(3, 256, 70, "nan"),
    _case(20, 256, 70, "nan", "float16"),
    _case(1, 1024, 151936, "qwen", large=True),
    _case(4, 1024, 151936, "qwen", argmax=1, large=True),
    _case(129, 1024, 151936, "qwen", large=True),
)

NEGATIVE_CONTROLS = {
    "without norm weight": with_ones("norm_weight"),
    "without eps": without("eps", 0.0),
    "without the last column": without_last("x"),
    "without the last token of the vocabulary": without_last("weight", 0),
    "NaN read as zero": without_nan("x"),
    "subnormal numbers read as zero": without_subnormal("x"),
    "the norm's mean in bfloat16": with_narrow_norm("norm_weight"),
    "the weight through float16": through_float16("weight"),
    "a token of logit 0 past the vocabulary": lambda given: (
        given | {"weight": torch.nn.functional.pad(given["weight"], (0, 0, 0, 1))} if "argmax" in given else given
    ),
}


def best_last(case: Case, device: str) -> Inputs:
    """The best tokens are the last ones, each row's its own."""
    given = inputs(case, device)
    rows = min(case["T"], case["V"])
    given["weight"][-rows:] = 4 * given["x"][:rows] / given["x"][:rows].float().norm(dim=1, keepdim=True)
    return given


SWEEPS = (
    Sweep(_case(1, 40, 70, "qwen"), ("T",), 65, 2**14 + 1, far=(128, 257, 513), rows=True),
    Sweep(_case(1, 40, 70, "tail", "float16", argmax=1), ("T",), 17, 2**14 + 1, far=(33, 65), rows=True),
    Sweep(_case(1, 1, 40, "tail"), ("H",), 257, 4097, far=(1024, 1025, 4096, 4097)),
    Sweep(_case(3, 1, 40, "tail"), ("H",), 257, 2049, far=(1024, 1025, 2049)),
    Sweep(_case(1, 24, 1, "tail", argmax=1), ("V",), 1025, 2**17 + 1, far=(4097, 32769, 65537), inputs=best_last),
    Sweep(_case(3, 24, 1, "tail", argmax=1), ("V",), 257, 2**17 + 1, far=(1024, 1025, 32769), inputs=best_last),
)
