"""Honest variants that are the ops' own kernels: with other block sizes and split counts, or another of them."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any

from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.configs import KernelConfig, Key, configs, override_config
from braidcheck.kernels.common.interpreter import INTERPRETED


def _rows(tokens: int) -> int:
    """Tokens of a program: on a GPU those that cuts are pinned for, of few tokens the many's and of many the few's."""
    if INTERPRETED:
        return 32
    return 64 if tokens <= 16 else 16


# By op: what its module calls the sizes, and their values. The interpreter takes few large blocks, a GPU small ones.
SIZES: Mapping[str, Mapping[str, Any]] = {
    "rms_norm": {},
    "rms_norm_qkv": {"default_block_m": _rows},
    "qkv_rope": {"BLOCK_K": 64 if INTERPRETED else 32, "default_block_m": _rows},
    "qk_norm_rope": {},
    "cache_write": {},
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
    "sample": {},
}
# Ops with a kernel for a few tokens or one that reads whole tiles, beside the one for any number in blocks.
IN_BLOCKS = ("rms_norm_qkv", "qkv_rope", "attention_prefill", "linear_residual", "gate_up_silu", "lm_head")
SPLITS = {"max_splits": 7, "num_ctas": 3 if INTERPRETED else 300}


def other_blocks(op: str) -> Callable[..., Any]:
    """The wrapper of ``op``, run with the block sizes of ``SIZES`` and other launch configs.

    Raises AttributeError where its module has no such size.
    """
    sizes = importlib.import_module(f"braidcheck.kernels.{op}"), SIZES[op]
    return _with(op, lambda: (_changed((sizes,)), override_config(other_configs(op))))


def in_blocks(op: str) -> Callable[..., Any]:
    """The wrapper of ``op``, which takes its kernel for any number of tokens for few and for many as well."""
    changes = (few, {"supports_gemv": lambda *_, **__: False}), (many, {"can_use_tma": lambda matrix: False})
    return _with(op, lambda: (_changed(changes),))


def _with(op: str, contexts: Callable[[], Iterable[AbstractContextManager[None]]]) -> Callable[..., Any]:
    call = getattr(importlib.import_module(f"braidcheck.kernels.{op}"), op)

    @functools.wraps(call)
    def variant(*arguments: Any, **options: Any) -> Any:
        with ExitStack() as stack:
            for context in contexts():
                stack.enter_context(context)
            return call(*arguments, **options)

    return variant


def other_configs(op: str) -> dict[Key, KernelConfig]:
    """Every launch config of ``op`` with another size in each field: a tensor core still gets large enough tiles."""
    return {key: _other(config) for key, config in configs().items() if key[0] == op}


def _other(config: KernelConfig) -> KernelConfig:
    def other(name: str, value: int) -> int:
        if name in SPLITS:
            return SPLITS[name]
        if name in ("num_warps", "num_stages"):
            return value
        double = 8 <= value <= 16 or (value == 1 and name == "block_m")
        return 2 * value if double else max(1, value // 2)

    return replace(config, **{name: other(name, value) for name, value in asdict(config).items() if value is not None})


@contextmanager
def _changed(changes: tuple[tuple[Any, Mapping[str, Any]], ...]) -> Iterator[None]:
    before = [(module, name, getattr(module, name)) for module, values in changes for name in values]
    for module, values in changes:
        for name, value in values.items():
            setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
