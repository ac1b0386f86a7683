"""Honest variants that are the ops' own kernels: with other block sizes and split counts, or another of them."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.interpreter import INTERPRETED

Cut = dict[str, int]


def _rows(tokens: int) -> int:
    """Tokens of a program: on a GPU those that cuts are pinned for, of few tokens the many's and of many the few's."""
    if INTERPRETED:
        return 32
    return 64 if tokens <= 16 else 16


# By op: what its module calls the sizes, and their values. The interpreter takes few large blocks, a GPU small ones.
SIZES: dict[str, dict[str, Any]] = {
    "rms_norm": {"ROWS": 16 if INTERPRETED else 4},
    "rms_norm_qkv": {"default_block_m": _rows},
    "qkv_rope": {"BLOCK_K": 64 if INTERPRETED else 32, "default_block_m": _rows},
    "qk_norm_rope": {"BLOCK_T": 16},
    "cache_write": {"BLOCK_T": 16},
    "attention_prefill": {},
    "attention_decode": {"BLOCK_N": 64 if INTERPRETED else 32, "MAX_SPLITS": 7},
    "decode_attention": {},
    "fused_attention": {
        "ATTENTION_BLOCK_N": 64 if INTERPRETED else 32,
        "BLOCK_N": 64,
        "BLOCK_K": 64 if INTERPRETED else 32,
    }
    | {"default_block_m": _rows},
    "linear_residual": {"default_block_m": _rows},
    "gate_up_silu": {"default_block_m": _rows},
    "lm_head": {"default_block_m": _rows},
    "sample": {"BLOCK": 256 if INTERPRETED else 512, "ROWS": 8 if INTERPRETED else 2},
}
# Ops with a kernel for a few tokens or one that reads whole tiles, beside the one for any number in blocks.
IN_BLOCKS = ("rms_norm_qkv", "qkv_rope", "attention_prefill", "linear_residual", "gate_up_silu", "lm_head")
SPLITS = {"MAX_SPLITS": 7, "PROGRAMS": 3 if INTERPRETED else 300}


def other_blocks(op: str) -> Callable[..., Any]:
    """The wrapper of ``op``, run with the block sizes of ``SIZES`` and every pinned cut of its made otherwise.

    Raises AttributeError where its module has no such size.
    """
    sizes = importlib.import_module(f"braidcheck.kernels.{op}"), SIZES[op]
    return _with(op, sizes, (pinned, {"cut": _otherwise(pinned.cut)}))


def in_blocks(op: str) -> Callable[..., Any]:
    """The wrapper of ``op``, which takes its kernel for any number of tokens for few and for many as well."""
    return _with(op, (few, {"serves": lambda *_, **__: False}), (many, {"fits": lambda matrix: False}))


def _with(op: str, *changes: tuple[Any, dict[str, Any]]) -> Callable[..., Any]:
    call = importlib.import_module(f"braidcheck.kernels.{op}").OP.call

    @functools.wraps(call)
    def variant(*arguments: Any, **options: Any) -> Any:
        with _changed(changes):
            return call(*arguments, **options)

    return variant


def _otherwise(own: Callable[..., Cut]) -> Callable[..., Cut]:
    """``own``, a choice of a cut, with every size in it another: what a tensor core takes stays large enough for it."""

    def other(name: str, value: int) -> int:
        if name.startswith(("num_", "MAX_SPLITS", "PROGRAMS")):
            return SPLITS.get(name, value)
        return 2 * value if 8 <= value <= 16 else max(1, value // 2)

    return lambda *which: {name: other(name, value) for name, value in own(*which).items()}


@contextmanager
def _changed(changes: tuple[tuple[Any, dict[str, Any]], ...]) -> Iterator[None]:
    before = [(module, name, getattr(module, name)) for module, values in changes for name in values]
    for module, values in changes:
        for name, value in values.items():
            setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
