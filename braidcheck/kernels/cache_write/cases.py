"""Inputs, cases and negative controls of ``cache_write``."""

from __future__ import annotations

import torch

from braidcheck.kernels.common.inputs import Numbers
from braidcheck.kernels.common.negative_controls import through_float16, without_last, without_subnormal
from braidcheck.op import Case, Inputs, Sweep


def inputs(case: Case, device: str) -> Inputs:
    """Caches full of NaN, and tokens for distinct slots in no order."""
    numbers = Numbers(case, device)
    tokens, batch, capacity = case["T"], case["B"], case["S"]
    shape = tokens, case["Hkv"], case["D"]
    last = batch * capacity - 1  # the last slot of the last row is always among them
    others = torch.randperm(last, generator=numbers.generator)
    indices = torch.cat([torch.tensor([last]), others])[:tokens]
    empty = torch.full((batch, capacity, case["Hkv"], case["D"]), float("nan"))
    return {
        "k": numbers.activations(*shape),
        "v": numbers.activations(*shape),
        "k_cache": numbers.place(empty.clone()),
        "v_cache": numbers.place(empty.clone()),
        "rows": (indices // capacity).to(device),
        "slots": (indices % capacity).to(device),
    }


def _case(
    tokens: int,
    batch: int,
    capacity: int,
    heads: int,
    dim: int,
    profile: str = "unit",
    dtype: str = "bfloat16",
    large: bool = False,
) -> Case:
    axes = {"T": tokens, "B": batch, "S": capacity, "Hkv": heads, "D": dim}
    return Case("cache_write", axes, dtype, profile, large=large)


CASES = (
    _case(1, 1, 16, 2, 64),
    _case(0, 1, 16, 2, 64),
    _case(65, 3, 50, 2, 64, "qwen"),
    _case(7, 4, 33, 3, 80, "tail", "float16"),
    _case(7, 4, 33, 8, 128, "extreme", "float32"),
    _case(7, 4, 33, 3, 80, "range"),
    _case(7, 4, 33, 3, 80, "zero_rows"),
    _case(7, 4, 33, 3, 80, "subnormal"),
    _case(7, 4, 33, 3, 80, "subnormal", "float16"),
    _case(7, 4, 33, 3, 80, "largest"),
    _case(7, 4, 33, 3, 80, "largest", "float16"),
    _case(7, 4, 33, 3, 80, "masked"),
    _case(4096, 2, 4096, 8, 128, "qwen", large=True),
    _case(64, 64, 2048, 8, 128, "unit", large=True),
)

NEGATIVE_CONTROLS = {
    "without V": lambda given: given | {"v": given["k"]},
    "every token one slot early": lambda given: given | {"slots": given["slots"] - 1},
    "every token in row 0": lambda given: given | {"rows": torch.zeros_like(given["rows"])},
    "without the last token": without_last("k", 0),
    "subnormal numbers read as zero": without_subnormal("k", "v"),
    "values through float16": through_float16("v"),
    "minus infinity read as a number": lambda given: given | {"k": given["k"].nan_to_num()},
}

SWEEPS = (
    Sweep(_case(1, 2, 1, 1, 4), ("T", "S"), 1025, 2**16 + 1, far=(4097,)),
    Sweep(_case(1, 2, 1, 1, 4, "tail", "float16"), ("S",), 4097, 2**17 + 1, far=(32769, 65537)),
    Sweep(_case(2, 1, 2, 1, 4), ("B",), 1025, 4097),
    Sweep(_case(3, 2, 5, 1, 1, "tail", "float32"), ("D",), 1025, 1025),
)
