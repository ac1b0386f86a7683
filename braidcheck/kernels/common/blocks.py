"""Equivalent implementations that are an op's own kernels: with other block sizes and splits, or another of them."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any

from braidcheck.kernels.common import gemv, sliced_k, split_k
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.configs import configs, override_config
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.kernel_config import KernelConfig, Key

SPLITS = {"max_splits": 7, "num_ctas": 3 if INTERPRETED else 300}


def other_block_m(tokens: int) -> int:
    """Replaces ``default_block_m``: on a GPU few tokens get the size for many, and many the size for few."""
    if INTERPRETED:
        return 32
    return 64 if tokens <= 16 else 16


def other_blocks(call: Callable[..., Any], **sizes: Any) -> Callable[..., Any]:
    """The wrapper ``call``, run with other launch configs and with these ``sizes`` in place of its module's own.

    Raises AttributeError where its module has no such size.
    """
    module = importlib.import_module(call.__module__)
    return _with(call, lambda: (_changed(((module, sizes),)), override_config(other_configs(call.__name__))))


def in_blocks(call: Callable[..., Any]) -> Callable[..., Any]:
    """The wrapper ``call``, which uses its TILED kernel for any number of tokens."""
    changes = (
        (gemv, {"supports_gemv": lambda *_: False}),
        (sliced_k, {"supports_sliced_k": lambda *_: False}),
        (split_k, {"supports_split_k": lambda *_: False}),
        (many, {"can_use_tma": lambda matrix: False}),
    )
    return _with(call, lambda: (_changed(changes),))


def _with(
    call: Callable[..., Any], contexts: Callable[[], Iterable[AbstractContextManager[None]]]
) -> Callable[..., Any]:
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
