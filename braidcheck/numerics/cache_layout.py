"""KV caches as other libraries lay them out: in pages that a block table lists, or with the heads before the slots.

A prompt's K and V [S,Hkv,D] are the cache of one row, or with ``cu_seqlens`` that of a row for each sequence.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from braidcheck.op import Case, Inputs, Op

CACHES = ("k_cache", "v_cache")
OF_PROMPT = ("k", "v")
TABLE, BOUNDS = "block_table", "cu_seqlens"


@dataclass(frozen=True)
class CacheLayout:
    """The layout of a KV cache. With a ``page`` size it is [pages, page, Hkv, D], and a block_table[B, pages of a row]
    int32 lists each row's pages; with 0 it is the op's own. With ``heads_first`` slots and heads are exchanged."""

    page: int = 0
    heads_first: bool = False

    def to_layout(self, inputs: Inputs, case: Case) -> Inputs:
        """The op's inputs with caches in this layout. Pages are in random order; one of them belongs to no row."""
        return self._exchanged(self._paged(inputs, case) if self.page else inputs)

    def to_contiguous(self, inputs: Inputs) -> Inputs:
        """Inputs in this layout as the op takes them; paged caches are copied."""
        plain = self._exchanged(inputs)
        if not self.page:
            return plain
        table = plain[TABLE].long()
        rows = {name: plain[name][table].flatten(1, 2) for name in _names(plain)}
        caches = rows if CACHES[0] in rows else {name: _joined(each, plain) for name, each in rows.items()}
        return {name: value for name, value in (plain | caches).items() if name != TABLE}

    def cache_to_layout(self, cache: Tensor, unowned: Tensor, inputs: Inputs) -> Tensor:
        """A contiguous cache in this layout, in its own dtype; pages that belong to no row are taken from ``unowned``,
        a cache in this layout."""
        if self.page:
            table = inputs[TABLE].long()
            pages = self._exchanged({CACHES[0]: unowned.to(cache.dtype)})[CACHES[0]].clone()
            pages[table] = cache.unflatten(1, (table.shape[1], self.page))
            cache = pages
        return cache.transpose(-3, -2) if self.heads_first else cache

    def _exchanged(self, inputs: Inputs) -> Inputs:
        if not self.heads_first:
            return inputs
        return inputs | {name: inputs[name].transpose(-3, -2).contiguous() for name in _names(inputs)}

    def _paged(self, inputs: Inputs, case: Case) -> Inputs:
        caches = {name: _rows(inputs[name], inputs) for name in _names(inputs)}
        first = next(iter(caches.values()))
        batch, slots = first.shape[:2]
        count = math.ceil(slots / self.page)
        order = torch.randperm(batch * count + 1, generator=torch.Generator().manual_seed(case.entropy))
        table = order[: batch * count].view(batch, count).to(first.device)
        pages = {name: self._pages(cache, table) for name, cache in caches.items()}
        return inputs | pages | {TABLE: table.int()}

    def _pages(self, cache: Tensor, table: Tensor) -> Tensor:
        (batch, slots, *rest), count = cache.shape, table.shape[1]
        full = cache.new_full((batch, count * self.page, *rest), math.nan)
        full[:, :slots] = cache
        pages = cache.new_full((batch * count + 1, self.page, *rest), math.nan)
        pages[table] = full.unflatten(1, (count, self.page))
        return pages


def _names(inputs: Inputs) -> tuple[str, ...]:
    """The arguments that are caches; ``cache_to_layout`` has one of them alone."""
    return tuple(name for name in CACHES if name in inputs) or OF_PROMPT


def _rows(cache: Tensor, inputs: Inputs) -> Tensor:
    """A cache, or a prompt's K or V, as rows [B,S,Hkv,D]: as many slots for each sequence, NaN past its end."""
    if cache.dim() == 4:
        return cache
    bounds = inputs.get(BOUNDS)
    if bounds is None:
        return cache[None]
    rows = cache.new_full((len(bounds) - 1, *cache.shape), math.nan)
    for row, (start, end) in zip(rows, pairwise(bounds.tolist()), strict=True):
        row[: end - start] = cache[start:end]
    return rows


def _joined(rows: Tensor, inputs: Inputs) -> Tensor:
    """A prompt's K or V from its rows."""
    bounds = inputs.get(BOUNDS)
    if bounds is None:
        return rows[0]
    counts = [end - start for start, end in pairwise(bounds.tolist())]
    return torch.cat([row[:count] for row, count in zip(rows, counts, strict=True)])


def with_cache_layout(op: Op, layout: CacheLayout) -> Op:
    """The op whose caches are given in this layout."""
    signature = _signature(op.call, layout)

    def in_layout(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(inputs: Inputs) -> Any:
            contiguous = layout.to_contiguous(inputs)
            returned = function(**contiguous)
            for name in op.contract.mutates:
                inputs[name].copy_(layout.cache_to_layout(contiguous[name], inputs[name], inputs))
            return returned

        return _with_signature(signature, function, call)

    def bound(inputs: Inputs) -> tuple[Tensor, ...]:
        errors, names = op.bound(**layout.to_contiguous(inputs)), op.contract.mutates
        returned, written = errors[: len(errors) - len(names)], errors[len(errors) - len(names) :]
        zeros = (torch.zeros_like(inputs[name], dtype=torch.float64) for name in names)
        pairs = zip(written, zeros, strict=True)
        return *returned, *(layout.cache_to_layout(error, zero, inputs) for error, zero in pairs)

    variant = replace(op, call=in_layout(op.call), reference=in_layout(op.reference), contract_checks={})
    return replace(variant, bound=_with_signature(signature, op.bound, bound))


def _with_signature(
    signature: inspect.Signature, wrapped: Callable[..., Any], call: Callable[[Inputs], Any]
) -> Callable[..., Any]:
    """A function with this signature that calls ``call`` with its arguments by name; else as ``wrapped``."""

    @functools.wraps(wrapped)
    def function(*args: Any, **kwargs: Any) -> Any:
        return call(dict(signature.bind(*args, **kwargs).arguments))

    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def _signature(call: Callable[..., Any], layout: CacheLayout) -> inspect.Signature:
    """The op's, with the block table after all other required arguments."""
    signature = inspect.signature(call)
    if not layout.page:
        return signature
    parameters = list(signature.parameters.values())
    num_required = sum(one.default is one.empty for one in parameters)
    table = inspect.Parameter(TABLE, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="Tensor")
    return signature.replace(parameters=[*parameters[:num_required], table, *parameters[num_required:]])
