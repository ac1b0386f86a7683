"""Inputs, cases and negative controls."""

from __future__ import annotations

from braidcheck.kernels.common.inputs import EPS, Numbers
from braidcheck.kernels.common.negative_controls import (
    through_float16,
    with_ones,
    without,
    without_last,
    without_nan,
    without_subnormal,
)
from braidcheck.op import Case, Inputs, Sweep


def inputs(case: Case, device: str) -> Inputs:
    """The residual stream (with the norm) or a normalised input, and a weight of unit gain."""
    numbers = Numbers(case, device)
    given: Inputs = {
        "x": numbers.activations(case["T"], case["H"]),
        "weight": numbers.weights(2 * case["I"], case["H"]),
    }
    if case.profile == "range":
        given["weight"][: case["I"]] = numbers.place(numbers.normal(case["I"], case["H"]) / case["H"] ** 0.5)
    if case.profile == "flat":
        given["weight"] /= 32  # the gates of negative rows stay where SiLU does not vanish
    if case.get("norm"):
        given |= {"norm_weight": numbers.norm_weight(case["H"], peak=10.0), "eps": EPS}
    return given


def _case(
    tokens: int,
    width: int,
    inner: int,
    profile: str = "unit",
    dtype: str = "bfloat16",
    norm: int = 1,
    large: bool = False,
) -> Case:
    axes = {"T": tokens, "H": width, "I": inner} | ({"norm": 1} if norm else {})
    return Case("gate_up_silu", axes, dtype, profile, large=large, needs=("norm_weight", "eps") if norm else ())


CASES = (
    _case(1, 256, 576),
    _case(1, 256, 576, "qwen"),
    _case(1, 2100, 70, "qwen"),
    _case(1, 1000, 331, "tail"),
    _case(1, 129, 70, "tail", "float16", norm=0),
    _case(1, 1024, 128, "cancel"),
    _case(1, 1024, 128, "cancel", "float32", norm=0),
    _case(1, 256, 128, "tiny"),
    _case(1, 512, 256, "sparse"),
    _case(1, 256, 128, "extreme"),
    _case(0, 256, 576),
    _case(65, 256, 576, "qwen"),
    _case(33, 256, 576, "qwen", "float16"),
    _case(33, 256, 576, "qwen", "float32"),
    _case(3, 1024, 3072, "unit", norm=0),
    _case(7, 1000, 331, "tail"),
    _case(19, 129, 70, "tail", "float16", norm=0),
    _case(9, 1024, 128, "cancel", norm=0),
    _case(9, 1024, 128, "cancel", "float32"),
    _case(9, 256, 128, "tiny"),
    _case(9, 256, 128, "tiny", "float32"),
    _case(9, 512, 256, "sparse"),
    _case(9, 256, 128, "extreme"),
    _case(9, 256, 128, "steep", norm=0),
    _case(20, 1000, 72, "tail"),
    _case(70, 264, 72, "tail", "float16", norm=0),
    _case(66, 1024, 128, "cancel", norm=0),
    _case(66, 129, 70, "tail"),
    _case(67, 256, 128, "tiny"),
    _case(1, 1024, 64, "flat", "float32"),
    _case(1, 1024, 64, "flat"),
    _case(64, 256, 64, "flat"),
    _case(130, 1024, 64, "flat"),
    _case(9, 1000, 64, "flat", "float16"),
    _case(80, 256, 96, "halfway"),
    _case(80, 256, 96, "halfway", "float16"),
    _case(3, 256, 64, "range", norm=0),
    _case(20, 256, 64, "range"),
    _case(66, 256, 136, "range"),
    _case(3, 256, 64, "zero_rows"),
    _case(20, 256, 64, "zero_rows", "float16"),
    _case(66, 256, 64, "zero_rows"),
    _case(1, 256, 64, "steep", norm=0),
    _case(20, 256, 64, "steep", "float16", norm=0),
    _case(66, 256, 64, "steep", norm=0),
    _case(3, 256, 64, "steep", "float32", norm=0),
    _case(3, 256, 64, "subnormal", "float16"),
    _case(1, 256, 64, "zero_rows"),
    _case(1, 256, 64, "nan"),
    _case(3, 256, 64, "nan"),
    _case(20, 256, 64, "nan", "float32"),
    _case(66, 256, 64, "nan"),
    _case(1, 1024, 3072, "qwen", large=True),
    _case(4096, 1024, 3072, "qwen", large=True),
    _case(515, 1024, 3072, "tail", "float16", norm=0, large=True),
)

NEGATIVE_CONTROLS = {
    "without norm": without("norm_weight"),
    "without norm weight": with_ones("norm_weight"),
    "without eps": without("eps", 0.0),
    "without the last column": without_last("x"),
    "without the last weight row": without_last("weight", 0),
    "up first": lambda given: given | {"weight": given["weight"].roll(len(given["weight"]) // 2, 0)},
    "NaN read as zero": without_nan("x"),
    "subnormal numbers read as zero": without_subnormal("x"),
    "the weight through float16": through_float16("weight"),
    "gates no larger than 64": lambda given: given | {"x": given["x"].clamp(-64, 64)},
}

SWEEPS = (
    Sweep(_case(1, 64, 64, "qwen"), ("T",), 65, 2**16 + 1, far=(128, 257, 2048), rows=True),
    Sweep(_case(1, 33, 40, "tail", "float16", norm=0), ("T",), 65, 2**16 + 1, far=(257,), rows=True),
    Sweep(_case(1, 1, 24, "tail"), ("H",), 257, 4097, far=(1024, 1025, 4096, 4097)),
    Sweep(_case(3, 1, 24, "tail", norm=0), ("H",), 257, 2049, far=(1024, 1025, 2049)),
    Sweep(_case(3, 24, 1, "tail"), ("I",), 257, 4097, far=(1025,)),
)
