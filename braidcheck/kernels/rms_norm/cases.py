"""Inputs, cases and negative controls of ``rms_norm``."""

from __future__ import annotations

from braidcheck.kernels.common.inputs import EPS, LARGE, SMALL, Numbers
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
    """x, weight and, where the case has one, a residual of another scale."""
    numbers = Numbers(case, device)
    shape = case["T"], case["H"]
    given = {"x": numbers.activations(*shape), "weight": numbers.norm_weight(case["H"], peak=20.0), "eps": EPS}
    if case.profile == "range":
        given["weight"] = numbers.place(given["weight"].cpu() * numbers.by_row(case["H"], LARGE, SMALL))
    if case.profile == "largest":
        given |= {"x": numbers.place(numbers.normal(*shape)), "weight": numbers.activations(case["H"])}
    if case.get("residual"):
        given["residual"] = numbers.place(0.3 * numbers.normal(*shape))
        if case.profile in ("range", "zero_rows"):
            given["residual"] = 0.3 * numbers.activations(*shape)
        if case.profile == "tiny":
            given["residual"] = given["residual"] * 1e-3
    if case.get("narrow"):
        given["out_dtype"] = numbers.dtype
    return given


def _case(
    tokens: int,
    width: int,
    profile: str = "unit",
    dtype: str = "bfloat16",
    residual: int = 0,
    narrow: int = 0,
    large: bool = False,
) -> Case:
    axes = {"T": tokens, "H": width} | ({"residual": 1} if residual else {}) | ({"narrow": 1} if narrow else {})
    needs = (("residual",) if residual else ()) + (("out_dtype",) if narrow else ())
    return Case("rms_norm", axes, dtype, profile, large=large, needs=needs)


CASES = (
    _case(1, 1024),
    _case(0, 256),
    _case(65, 256, "qwen"),
    _case(7, 1000, "tail", "float16"),
    _case(33, 896, "tail", "float32"),
    _case(16, 256, "tiny"),
    _case(16, 256, "tiny", "float32"),
    _case(9, 1024, "sparse"),
    _case(9, 1024, "extreme"),
    _case(9, 1024, "extreme", "float16"),
    _case(5, 128, "cancel", "float32"),
    _case(33, 1024, "qwen", residual=1),
    _case(7, 1000, "tail", "float16", residual=1),
    _case(17, 256, "tiny", "float32", residual=1),
    _case(9, 256, "qwen", narrow=1),
    _case(5, 1000, "tail", "float16", residual=1, narrow=1),
    _case(9, 256, "flat"),
    _case(3, 1000, "flat", "float16", residual=1),
    _case(80, 256, "halfway"),
    _case(80, 256, "halfway", "float16"),
    _case(3, 256, "range"),
    _case(3, 256, "range", narrow=1),
    _case(3, 256, "range", residual=1, narrow=1),
    _case(3, 256, "range", "float32"),
    _case(3, 256, "zero_rows"),
    _case(3, 256, "zero_rows", "float16", residual=1),
    _case(3, 256, "subnormal"),
    _case(3, 256, "subnormal", "float16", narrow=1),
    _case(3, 256, "subnormal", "float32"),
    _case(3, 256, "largest", "float16", narrow=1),
    _case(3, 256, "nan"),
    _case(3, 256, "nan", "float32", residual=1),
    _case(4096, 1024, "qwen", large=True),
    _case(4096, 1024, "qwen", residual=1, large=True),
    _case(65536, 1024, "unit", large=True),
    _case(1023, 5120, "tail", large=True),
)

NEGATIVE_CONTROLS = {
    "without eps": without("eps", 0.0),
    "without weight": with_ones("weight"),
    "without the last column": without_last("x"),
    "without residual": without("residual"),
    "NaN read as zero": without_nan("x"),
    "subnormal numbers read as zero": without_subnormal("x"),
    "the norm's mean in bfloat16": with_narrow_norm("weight"),
    "the residual through float16": through_float16("residual"),
}

SWEEPS = (
    Sweep(_case(1, 40, "qwen", residual=1), ("T",), 1025, 2**16 + 1, far=(4097,), rows=True),
    Sweep(_case(1, 24, "tail", "float16", narrow=1), ("T",), 257, 2**16 + 1, rows=True),
    Sweep(_case(3, 1, "tail"), ("H",), 4097, 16385),
)
