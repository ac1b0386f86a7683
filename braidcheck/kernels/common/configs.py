"""How kernels are cut into programs, by class of GPU: pinned, since a search in a gate would judge noise.

Found by ``nox -s tune`` (``tools/tune.py``); what was tried and what it gave stands in docs/decode-log.md and
docs/prefill-log.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
import triton

from braidcheck.kernels.common.interpreter import INTERPRETED

Cut = Mapping[str, int]

# Decode attention: COMBINE_BLOCK splits are combined at a time.
_SPLIT_KV = {
    "BLOCK_N": 64,
    "MIN_KEYS_PER_SPLIT": 256,
    "MAX_SPLITS": 32,
    "COMBINE_BLOCK": 8,
    "num_warps": 4,
    "num_stages": 2,
}
SAFE: Mapping[str, Cut] = {  # any GPU: no spills at any width that is served
    "rms_norm_qkv of one": {"ROWS": 4, "num_warps": 4},
    "linear_residual of one": {"ROWS": 4, "num_warps": 4},
    "gate_up_silu of one": {"ROWS": 2, "num_warps": 4},
    "lm_head of one": {"ROWS": 8, "PROGRAMS": 512, "num_warps": 4},
    "rms_norm_qkv of few": {"ROWS": 16, "num_warps": 8},
    "linear_residual of few": {"ROWS": 16, "num_warps": 8},
    "gate_up_silu of few": {"ROWS": 8, "num_warps": 8},
    "rms_norm_qkv in blocks of 16": {"BLOCK_N": 32, "BLOCK_K": 128},
    "linear_residual in blocks of 16": {"BLOCK_N": 16, "BLOCK_K": 256, "num_warps": 2},
    "gate_up_silu in blocks of 16": {"BLOCK_N": 32, "BLOCK_K": 128},
    "lm_head in blocks of 16": {"BLOCK_N": 64, "BLOCK_K": 128},
    "rms_norm_qkv in blocks of 64": {"BLOCK_N": 32, "BLOCK_K": 128},
    "linear_residual in blocks of 64": {"BLOCK_N": 32, "BLOCK_K": 128, "num_warps": 8},  # with four sm_80 spills
    "gate_up_silu in blocks of 64": {"BLOCK_N": 32, "BLOCK_K": 128},
    "lm_head in blocks of 64": {"BLOCK_N": 64, "BLOCK_K": 128},
    "attention_prefill of few": {"BLOCK_M": 16, "BLOCK_N": 64, "num_warps": 4},
    "attention_prefill of many": {"BLOCK_M": 64, "BLOCK_N": 64, "num_warps": 4},
    "attention_prefill of long": {"BLOCK_M": 64, "BLOCK_N": 64, "num_warps": 4},
    "decode_attention of one": _SPLIT_KV | {"MIN_KEYS_PER_SPLIT": 64},
    "decode_attention of several": _SPLIT_KV,
    "decode_attention of long": _SPLIT_KV,
}
# Of many tokens: blocks for one program of a multiprocessor, and for two.
_LARGE = {"BLOCK_T": 128, "BLOCK_K": 64, "RESIDENT": 1, "num_warps": 8, "num_stages": 3}
_SMALL = {"BLOCK_T": 64, "BLOCK_K": 64, "RESIDENT": 2, "num_warps": 4, "num_stages": 4}
BY_CAPABILITY: Mapping[tuple[int, int], Mapping[str, Cut]] = {
    (9, 0): SAFE  # an H200, 2026-11-21; of many tokens an H100, 2026-11-27
    | {
        "rms_norm_qkv of one": {"ROWS": 4, "num_warps": 1},
        "linear_residual of one": {"ROWS": 2, "num_warps": 8},
        "gate_up_silu of one": {"ROWS": 2, "num_warps": 1},
        "lm_head of one": {"ROWS": 8, "PROGRAMS": 1056, "num_warps": 8},
        "rms_norm_qkv of few": {"ROWS": 32, "num_warps": 8},
        "gate_up_silu of few": {"ROWS": 32, "num_warps": 8},
        "rms_norm_qkv in blocks of 16": {"BLOCK_N": 32, "BLOCK_K": 256},
        "linear_residual in blocks of 16": {"BLOCK_N": 16, "BLOCK_K": 512, "num_warps": 2, "num_stages": 4},
        "lm_head in blocks of 16": {"BLOCK_N": 128, "BLOCK_K": 128, "num_warps": 8, "num_stages": 4},
        "decode_attention of one": _SPLIT_KV
        | {"MIN_KEYS_PER_SPLIT": 64, "MAX_SPLITS": 64, "COMBINE_BLOCK": 32, "num_warps": 2},
        "decode_attention of long": _SPLIT_KV
        | {"BLOCK_N": 128, "MAX_SPLITS": 16, "COMBINE_BLOCK": 16, "num_stages": 3},
        "attention_prefill of many": {"BLOCK_M": 64, "BLOCK_N": 64, "num_warps": 4, "num_stages": 3},
        "attention_prefill of long": {"BLOCK_M": 128, "BLOCK_N": 128, "num_warps": 8, "num_stages": 3},
        "rms_norm_qkv of dozens": _SMALL | {"BLOCK_N": 64, "BLOCK_K": 128},
        "rms_norm_qkv of hundreds": _SMALL | {"BLOCK_N": 128},
        "rms_norm_qkv of thousands": _LARGE | {"BLOCK_N": 256},
        "qkv_rope of dozens": _SMALL | {"HEADS": 1, "BLOCK_K": 128, "num_stages": 3},
        "qkv_rope of hundreds": _LARGE | {"HEADS": 1, "num_stages": 5},
        "qkv_rope of thousands": _LARGE | {"HEADS": 2, "num_stages": 4},
        "linear_residual of dozens": _SMALL | {"BLOCK_N": 64, "BLOCK_K": 128, "num_stages": 5},
        "linear_residual of hundreds": _SMALL | {"BLOCK_N": 64, "BLOCK_K": 128, "num_stages": 5},
        "linear_residual of thousands": _LARGE | {"BLOCK_N": 256},
        "gate_up_silu of dozens": _SMALL | {"BLOCK_N": 64},
        "gate_up_silu of hundreds": _LARGE | {"BLOCK_N": 128},
        "gate_up_silu of thousands": _LARGE | {"BLOCK_N": 128},
    },
}
_PROJECTIONS = ("rms_norm_qkv", "linear_residual", "gate_up_silu", "lm_head")
_BLOCKS = (16, 32, 64, 128, 256)  # tokens of one program in the interpreter
_MANY = ("dozens", "hundreds", "thousands")  # tokens
_INTERPRETED = {"BLOCK_T": 64, "BLOCK_K": 128, "RESIDENT": 1}
_THOUSANDS = _INTERPRETED | {"BLOCK_T": 256}
IN_THE_INTERPRETER: Mapping[str, Cut] = {  # few, large programs; of attention enough splits to test them
    **{f"{op} of {tokens}": {"ROWS": 256} for op in _PROJECTIONS for tokens in ("one", "few")},
    **{f"{op} in blocks of {rows}": {"BLOCK_N": 256, "BLOCK_K": 256} for op in _PROJECTIONS for rows in _BLOCKS},
    **{f"{op} of {many}": _INTERPRETED | {"BLOCK_N": 128} for op in _PROJECTIONS[:3] for many in _MANY[:2]},
    **{f"{op} of thousands": _THOUSANDS | {"BLOCK_N": 128} for op in _PROJECTIONS[:3]},
    "qkv_rope of dozens": _INTERPRETED | {"HEADS": 1},
    "qkv_rope of hundreds": _INTERPRETED | {"HEADS": 2},
    "qkv_rope of thousands": _THOUSANDS | {"HEADS": 2},
    "lm_head of one": {"ROWS": 256, "PROGRAMS": 4},
    "attention_prefill of few": {"BLOCK_M": 16, "BLOCK_N": 256},
    "attention_prefill of many": {"BLOCK_M": 128, "BLOCK_N": 128},
    "attention_prefill of long": {"BLOCK_M": 256, "BLOCK_N": 128},
    "decode_attention of one": {"BLOCK_N": 64, "MIN_KEYS_PER_SPLIT": 64, "MAX_SPLITS": 4, "COMBINE_BLOCK": 2},
    "decode_attention of several": {"BLOCK_N": 64, "MIN_KEYS_PER_SPLIT": 128, "MAX_SPLITS": 4, "COMBINE_BLOCK": 2},
    "decode_attention of long": {"BLOCK_N": 128, "MIN_KEYS_PER_SPLIT": 128, "MAX_SPLITS": 4, "COMBINE_BLOCK": 2},
}
FORCED: dict[str, Cut] = {}  # what a search tries just now


@cache
def capability() -> tuple[int, int]:
    """The compute capability of this machine's NVIDIA GPU, (0, 0) where there is none."""
    nvidia = torch.version.hip is None and torch.cuda.is_available()
    return torch.cuda.get_device_capability() if nvidia else (0, 0)


def has(kernel: str) -> bool:
    """Whether there is a cut of this kernel for this machine's GPU: some kernels are not for every one."""
    return kernel in (IN_THE_INTERPRETER if INTERPRETED else BY_CAPABILITY.get(capability(), SAFE))


def cut(kernel: str) -> dict[str, int]:
    """The constants and launch options of a kernel, named by its op and the tokens or rows it is for."""
    if kernel in FORCED:
        return dict(FORCED[kernel])
    if INTERPRETED:
        return dict(IN_THE_INTERPRETER[kernel])
    return dict(BY_CAPABILITY.get(capability(), SAFE)[kernel])


def default_block_m(num_tokens: int) -> int:
    """BLOCK_M of a projection in blocks: one tensor-core tile in decode; in the interpreter few, large programs."""
    if INTERPRETED:
        return min(256, max(16, triton.next_power_of_2(num_tokens)))
    return 16 if num_tokens <= 16 else 64
