"""The shapes in which Qwen3-0.6B calls each op, bfloat16: what the measured lane and the paired gate time."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from braidcheck.op import Case, Op

HIDDEN, INNER, VOCAB, POSITIONS = 1024, 3072, 151936, 40960
HEADS = {"Hq": 16, "Hkv": 8, "D": 128}
TOKENS = {"1 token": 1, "16 tokens": 16, "512 tokens": 512, "4096 tokens": 4096}


@dataclass(frozen=True)
class Series:
    """One timing that is followed: an op on a case; ``name`` is ``op[shape]``."""

    name: str
    op: str
    case: Case


def _of_tokens(*more: int, **axes: int) -> dict[str, dict[str, int]]:
    counts = TOKENS | {f"{tokens} tokens": tokens for tokens in more}
    return {shape: {"T": tokens} | axes for shape, tokens in sorted(counts.items(), key=lambda item: item[1])}


def _rows(batch: int, context: int) -> dict[str, int]:
    return {"B": batch, "S": context, **HEADS}


def _step(batch: int, context: int) -> dict[str, int]:
    return _rows(batch, context) | {"wide": 1}  # Q, K and V come as float32


def _fused(tokens: int, batch: int, context: int) -> dict[str, int]:
    return {"T": tokens, "B": batch, "S": context, "H": HIDDEN, **HEADS}


CACHE = {"Hkv": HEADS["Hkv"], "D": HEADS["D"]}
AXES: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    "rms_norm": _of_tokens(65536, H=HIDDEN),
    "rms_norm_qkv": _of_tokens(128, H=HIDDEN, **HEADS),
    "qkv_rope": _of_tokens(H=HIDDEN, **HEADS, P=POSITIONS, norm=1, narrow=1),
    "qk_norm_rope": _of_tokens(**HEADS, P=POSITIONS),
    "gate_up_silu": _of_tokens(H=HIDDEN, I=INNER, norm=1),
    "linear_residual": _of_tokens(K=INNER, H=HIDDEN),
    "lm_head": {
        "1 token": {"T": 1, "H": HIDDEN, "V": VOCAB, "argmax": 1},
        "16 tokens": {"T": 16, "H": HIDDEN, "V": VOCAB, "argmax": 1},
    },
    "sample": {
        "1 token": {"T": 1, "V": VOCAB, "t": 60, "k": 20, "p": 95},
        "16 tokens": {"T": 16, "V": VOCAB, "t": 60, "k": 20, "p": 95},
    },
    "cache_write": {
        "1 token": {"T": 1, "B": 1, "S": 64, **CACHE},
        "16 tokens": {"T": 16, "B": 16, "S": 64, **CACHE},
        "512 tokens": {"T": 512, "B": 1, "S": 512, **CACHE},
        "4096 tokens": {"T": 4096, "B": 1, "S": 4096, **CACHE},
    },
    "attention_decode": {
        "1 row of 2048": _rows(1, 2048),
        "16 rows of 2048": _rows(16, 2048),
        "1 row of 32768": _rows(1, 32768),
    },
    "decode_attention": {
        "1 row of 128": _step(1, 128),
        "1 row of 2048": _step(1, 2048),
        "1 row of 32768": _step(1, 32768),
        "16 rows of 2048": _step(16, 2048),
    },
    "attention_prefill": {f"{tokens} tokens": {"T": tokens, **HEADS} for tokens in (512, 4096, 16384)},
    "fused_attention": {
        "1 row of 2048": _fused(1, 1, 2048),
        "16 rows of 2048": _fused(16, 16, 2048),
        "512 tokens": _fused(512, 1, 512),
        "4096 tokens": _fused(4096, 1, 4096),
    },
}


def series(ops: Mapping[str, Op]) -> list[Series]:
    """All series of these ops; an op that AXES does not name is timed on its own large bfloat16 cases."""
    found = []
    for name, op in ops.items():
        if name in AXES:
            found += [Series(f"{name}[{shape}]", name, Case(name, axes)) for shape, axes in AXES[name].items()]
        else:
            found += [Series(case.id, name, case) for case in op.cases if case.large and case.dtype == "bfloat16"]
    return found


def arguments(op: Op, case: Case) -> dict[str, Any]:
    """The op's own inputs on the CPU, with every row of a batch as long as the op's cost counts it."""
    given = op.inputs(case, "cpu")
    batch, capacity = case.get("B"), case.get("S")
    if "split_counter" in inspect.signature(op.call).parameters:  # a decoder has them ready
        given["split_counter"] = torch.zeros(batch, case["Hkv"], dtype=torch.int32)
    if batch < 2 or not given.keys() & {"lengths", "split_counter"}:
        return given
    # Lengths are drawn at random there; here a call must move the bytes that its cost says.
    lengths = torch.arange(1, batch + 1) * capacity // batch
    if "lengths" not in given:
        given["positions"] = lengths - 1
    elif "positions" in given:
        given["lengths"] = torch.full((batch,), capacity)
        given["positions"] = given["lengths"] - 1
    else:
        given["lengths"] = lengths
    return given | {name: given[name].nan_to_num(0.5) for name in ("k_cache", "v_cache")}
