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
    "rms_norm_qkv": {"ROWS": 4, "num_warps": 4},
    "linear_residual": {"ROWS": 4, "num_warps": 4},
    "gate_up_silu": {"ROWS": 4, "num_warps": 4},
    "lm_head": {"ROWS": 8, "PROGRAMS": 512, "num_warps": 4},
    "attention_step": {"BLOCK_S": 64, "LEAST": 128, "MOST_SPLITS": 32, "num_warps": 4, "num_stages": 2},
}
BY_CAPABILITY: Mapping[tuple[int, int], Mapping[str, Cut]] = {
    (9, 0): {  # an H200, 2026-11-21
        "rms_norm_qkv": {"ROWS": 8, "num_warps": 4},
        "linear_residual": {"ROWS": 4, "num_warps": 4},
        "gate_up_silu": {"ROWS": 4, "num_warps": 4},
        "lm_head": {"ROWS": 8, "PROGRAMS": 528, "num_warps": 4},
        "attention_step": {"BLOCK_S": 64, "LEAST": 128, "MOST_SPLITS": 32, "num_warps": 4, "num_stages": 3},
    },
}
IN_THE_INTERPRETER: Mapping[str, Cut] = {  # few, large programs; of attention enough splits to test them
    "rms_norm_qkv": {"ROWS": 256},
    "linear_residual": {"ROWS": 256},
    "gate_up_silu": {"ROWS": 256},
    "lm_head": {"ROWS": 256, "PROGRAMS": 4},
    "attention_step": {"BLOCK_S": 64, "LEAST": 128, "MOST_SPLITS": 4},
}
FORCED: dict[str, Cut] = {}  # what a search tries just now


@cache
def capability() -> tuple[int, int]:
    """The compute capability of this machine's NVIDIA GPU, (0, 0) where there is none."""
    nvidia = torch.version.hip is None and torch.cuda.is_available()
    return torch.cuda.get_device_capability() if nvidia else (0, 0)


def cut(op: str) -> dict[str, int]:
    """The constants and launch options of ``op``'s decode kernel on this machine."""
    if INTERPRETED:
        return dict(IN_THE_INTERPRETER[op])
    if op in FORCED:
        return dict(FORCED[op])
    return dict(BY_CAPABILITY.get(capability(), SAFE)[op])
