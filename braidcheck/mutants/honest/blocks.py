"""Honest variants that are the ops' own kernels with other block sizes and split counts."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from braidcheck.kernels._device import INTERPRETED


def _rows(_: int) -> int:
    return 32


# By op: what its module calls the sizes, and their values. The interpreter takes few large blocks, a GPU small ones.
SIZES: dict[str, dict[str, Any]] = {
    "rms_norm": {"ROWS": 16 if INTERPRETED else 4},
    "rms_norm_qkv": {"blocks": lambda width, few: (128, 64) if INTERPRETED else (64, 32), "token_block": _rows},
    "qkv_rope": {"BLOCK_K": 64 if INTERPRETED else 32, "token_block": _rows},
    "qk_norm_rope": {"BLOCK_T": 16},
    "cache_write": {"BLOCK_T": 16},
    "attention_prefill": {"BLOCK_S": 64 if INTERPRETED else 32, "token_block": _rows},
    "attention_decode": {"BLOCK_S": 64 if INTERPRETED else 32, "MAX_SPLITS": 7},
    "fused_attention": {"BLOCK_S": 64 if INTERPRETED else 32, "BLOCK_N": 64, "BLOCK_K": 64 if INTERPRETED else 32}
    | {"token_block": _rows},
    "linear_residual": {"BLOCK_N": 64, "BLOCK_K": 64, "token_block": _rows},
    "gate_up_silu": {"BLOCK_N": 64, "BLOCK_K": 64, "token_block": _rows},
    "lm_head": {"BLOCK_N": 128, "BLOCK_K": 64, "token_block": _rows},
    "sample": {"BLOCK": 256 if INTERPRETED else 512, "ROWS": 8 if INTERPRETED else 2},
}


def other_blocks(op: str) -> Callable[..., Any]:
    """The wrapper of ``op``, run with the block sizes of ``SIZES``. Raises AttributeError where its module has none."""
    module = importlib.import_module(f"braidcheck.kernels.{op}")
    call = module.OP.call

    @functools.wraps(call)
    def variant(*arguments: Any, **options: Any) -> Any:
        with _changed(module, SIZES[op]):
            return call(*arguments, **options)

    return variant


@contextmanager
def _changed(module: Any, values: dict[str, Any]) -> Iterator[None]:
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
