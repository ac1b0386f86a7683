"""How the decode kernels are cut into programs, by class of GPU: pinned, since a search in a gate would judge noise.

Found by ``nox -s tune`` (``evidence/tune.py``); what was tried and what it gave stands in docs/decode-log.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch

from braidcheck.kernels._device import INTERPRETED

Cut = Mapping[str, int]

SAFE: Mapping[str, Cut] = {  # any GPU: no spills at any width that is served
    "rms_norm_qkv of one": {"ROWS": 4, "num_warps": 4},
    "linear_residual of one": {"ROWS": 4, "num_warps": 4},
    "gate_up_silu of one": {"ROWS": 2, "num_warps": 4},
    "lm_head of one": {"ROWS": 8, "PROGRAMS": 512, "num_warps": 4},
    "rms_norm_qkv of few": {"BLOCK_N": 32, "BLOCK_K": 128, "num_warps": 4, "num_stages": 3},
    "linear_residual of few": {"BLOCK_N": 32, "BLOCK_K": 128, "num_warps": 4, "num_stages": 3},
    "gate_up_silu of few": {"BLOCK_N": 32, "BLOCK_K": 128, "num_warps": 4, "num_stages": 3},
    "lm_head of few": {"BLOCK_N": 64, "BLOCK_K": 128, "num_warps": 4, "num_stages": 3},
    "attention_step": {"BLOCK_S": 64, "LEAST": 64, "MOST_SPLITS": 32, "num_warps": 4, "num_stages": 2},
    "attention_step of long": {"BLOCK_S": 64, "LEAST": 256, "MOST_SPLITS": 32, "num_warps": 4, "num_stages": 2},
}
BY_CAPABILITY: Mapping[tuple[int, int], Mapping[str, Cut]] = {
    (9, 0): SAFE  # an H200, 2026-11-21
    | {
        "rms_norm_qkv of one": {"ROWS": 4, "num_warps": 1},
        "linear_residual of one": {"ROWS": 2, "num_warps": 8},
        "gate_up_silu of one": {"ROWS": 2, "num_warps": 1},
        "lm_head of one": {"ROWS": 8, "PROGRAMS": 1056, "num_warps": 8},
        "rms_norm_qkv of few": {"BLOCK_N": 32, "BLOCK_K": 512, "num_warps": 8, "num_stages": 3},
        "linear_residual of few": {"BLOCK_N": 16, "BLOCK_K": 256, "num_warps": 2, "num_stages": 4},
        "gate_up_silu of few": {"BLOCK_N": 32, "BLOCK_K": 256, "num_warps": 4, "num_stages": 4},
        "lm_head of few": {"BLOCK_N": 128, "BLOCK_K": 128, "num_warps": 8, "num_stages": 4},
        "attention_step": {"BLOCK_S": 64, "LEAST": 64, "MOST_SPLITS": 32, "num_warps": 4, "num_stages": 2},
        "attention_step of long": {"BLOCK_S": 128, "LEAST": 256, "MOST_SPLITS": 16, "num_warps": 8, "num_stages": 3},
    },
}
IN_THE_INTERPRETER: Mapping[str, Cut] = {  # few, large programs; of attention enough splits to test them
    "rms_norm_qkv of one": {"ROWS": 256},
    "linear_residual of one": {"ROWS": 256},
    "gate_up_silu of one": {"ROWS": 256},
    "lm_head of one": {"ROWS": 256, "PROGRAMS": 4},
    "attention_step": {"BLOCK_S": 64, "LEAST": 128, "MOST_SPLITS": 4},
    "attention_step of long": {"BLOCK_S": 128, "LEAST": 128, "MOST_SPLITS": 4},
}
MANY = {  # tokens: at most 16 are few
    "rms_norm_qkv": {"BLOCK_N": 32, "BLOCK_K": 128, "num_warps": 4, "num_stages": 3},
    "linear_residual": {"BLOCK_N": 32, "BLOCK_K": 128, "num_warps": 8, "num_stages": 3},  # with four sm_80 spills
    "gate_up_silu": {"BLOCK_N": 32, "BLOCK_K": 128, "num_warps": 4, "num_stages": 3},
    "lm_head": {"BLOCK_N": 64, "BLOCK_K": 128, "num_warps": 4, "num_stages": 3},
}
FORCED: dict[str, Cut] = {}  # what a search tries just now


@cache
def capability() -> tuple[int, int]:
    """The compute capability of this machine's NVIDIA GPU, (0, 0) where there is none."""
    nvidia = torch.version.hip is None and torch.cuda.is_available()
    return torch.cuda.get_device_capability() if nvidia else (0, 0)


def cut(kernel: str) -> dict[str, int]:
    """The constants and launch options of a decode kernel on this machine."""
    if INTERPRETED:
        return dict(IN_THE_INTERPRETER[kernel])
    if kernel in FORCED:
        return dict(FORCED[kernel])
    return dict(BY_CAPABILITY.get(capability(), SAFE)[kernel])


def cut_of_tokens(op: str, block_t: int) -> dict[str, int]:
    """The constants and launch options of an op's kernel for several tokens, ``block_t`` of them a program."""
    if INTERPRETED:
        return {"BLOCK_N": 256, "BLOCK_K": 256}
    return cut(f"{op} of few") if block_t == 16 else dict(MANY[op])
