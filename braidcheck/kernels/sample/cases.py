"""Inputs, cases and negative controls of ``sample``."""

from __future__ import annotations

import torch

from braidcheck.kernels.common.inputs import Numbers
from braidcheck.kernels.common.negative_controls import without, without_last
from braidcheck.op import Case, Inputs, Sweep

NOISE_POSITIONS = 2**31  # a position counts noise, no table limits it


def inputs(case: Case, device: str) -> Inputs:
    """Logits with zeros of both signs among equal ones, seeds of 62 bits; a last token that is often drawn."""
    numbers = Numbers(case, device)
    batch, vocab = case["T"], case["V"]
    logits = numbers.activations(batch, vocab)
    if case.profile == "masked" and vocab:  # a row of nothing else has no distribution
        logits[:, 0] = torch.where(logits.isneginf().all(-1), 0.0, logits[:, 0])
    if case.profile not in ("masked", "ties", "mass", "one_sign"):
        signs = torch.rand(batch, vocab, generator=numbers.generator) < 0.5
        logits = torch.where(numbers.place(signs, torch.bool), -logits, logits)
    if case.profile == "tail":
        logits[:, -1] = logits.amax(-1) + 1
    if case.profile == "extreme":
        logits = logits.flip(0)  # the last row is the one of large numbers
    if case.profile == "cancel":
        logits = 1 + 2**-21 * numbers.place(numbers.normal(batch, vocab))  # they differ in their last bits
    return {
        "logits": logits,
        "seeds": torch.randint(0, 2**62, (batch,), generator=numbers.generator).to(device),
        "positions": numbers.positions(batch, NOISE_POSITIONS),
        "temperature": case.get("t", 100) / 100,
        "top_k": case.get("k"),
        "top_p": case.get("p", 100) / 100,
    }


def _case(
    batch: int,
    vocab: int,
    profile: str = "unit",
    dtype: str = "float32",
    large: bool = False,
    **filters: int,
) -> Case:
    """``filters``: t and p, temperature and top-p in hundredths, and k."""
    return Case("sample", {"T": batch, "V": vocab} | filters, dtype, profile, large=large)


CASES = (
    _case(5, 700),
    _case(0, 700),
    _case(33, 300, t=60, k=20, p=95),
    _case(9, 2500, "qwen", t=150, k=50),
    _case(33, 331, "tail", "float16", t=70, p=80),
    _case(17, 2500, "tail", t=200, p=90),
    _case(33, 300, k=1),
    _case(33, 400, "sparse", k=30, t=1000),
    _case(33, 500, "qwen", "bfloat16", t=80, k=3, p=70),
    _case(9, 1100, "tiny", p=50),
    _case(5, 2500, "extreme", k=7, p=90),
    _case(33, 40, k=100, p=60),
    _case(17, 300, "cancel", k=20),
    _case(33, 700, "masked", k=20, p=95),
    _case(5, 331, "masked", p=90),
    _case(5, 300, "ties", k=7),
    _case(66, 300, "ties", k=7),
    _case(66, 300, "ties", p=50),
    _case(6, 700, "mass", p=95),
    _case(66, 700, "mass", k=3, p=50),
    _case(66, 331, "mass"),
    _case(9, 331, "one_sign", k=20, p=80),
    _case(9, 331, "zero_rows", k=20, p=80),
    _case(64, 151936, "qwen", t=60, k=20, p=95, large=True),
    _case(3, 151936, "tail", t=100, p=90, large=True),
    _case(1, 151936, "qwen", "bfloat16", t=60, k=20, p=95, large=True),
)

NEGATIVE_CONTROLS = {
    "without temperature": without("temperature", 1.0),
    "without top-k": without("top_k", 0),
    "one token more than top-k": lambda given: given | {"top_k": given["top_k"] and given["top_k"] + 1},
    "without top-p": without("top_p", 1.0),
    "one seed for all rows": lambda given: given | {"seeds": given["seeds"][:1].expand_as(given["seeds"])},
    "one position for all rows": lambda given: given | {"positions": torch.zeros_like(given["positions"])},
    "without the last token of the vocabulary": without_last("logits"),
    "minus infinity read as zero": lambda given: given | {"logits": given["logits"].nan_to_num(neginf=0.0)},
}


def half_kept(case: Case, device: str) -> Inputs:
    """Top-k keeps half of the vocabulary: as large a k as there is room for."""
    return inputs(case, device) | {"top_k": case["V"] // 2}


SWEEPS = (
    Sweep(_case(1, 70, "tail"), ("T",), 65, 4097, far=(257, 513), rows=True),
    Sweep(_case(3, 1, "tail", k=20), ("V",), 257, 2**17 + 1, far=(1024, 1025, 4097), inputs=half_kept),
    Sweep(_case(3, 1, "unit", "bfloat16", t=200), ("V",), 1025, 2**17 + 1, far=(4097, 16385, 65537)),
    Sweep(_case(3, 300, k=1), ("k",), 33, 300, far=(128, 256, 257)),
)
