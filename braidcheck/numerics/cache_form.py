"""KV caches as other libraries lay them out: in pages that a block table lists, or with the heads before the slots."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from braidcheck.op import Case, Inputs, Op

CACHES = ("k_cache", "v_cache")
TABLE = "block_table"


@dataclass(frozen=True)
class CacheForm:
    """``page`` slots lie together, as [pages, page, Hkv, D] with a block_table[B, pages of a row] int32; 0: as the op
    has them. ``heads_first``: slots and heads are exchanged."""

    page: int = 0
    heads_first: bool = False

    def given(self, inputs: Inputs, case: Case) -> Inputs:
        """The op's inputs in this form. Pages lie in any order, and one that no row has is among them."""
        return self._exchanged(self._paged(inputs, case) if self.page else inputs)

    def contiguous(self, given: Inputs) -> Inputs:
        """The inputs as the op takes them; caches in pages are copies."""
        plain = self._exchanged(given)
        if not self.page:
            return plain
        table = plain[TABLE].long()
        caches = {name: plain[name][table].flatten(1, 2) for name in CACHES}
        return {name: value for name, value in (plain | caches).items() if name != TABLE}

    def laid_out(self, cache: Tensor, like: Tensor, given: Inputs) -> Tensor:
        """A contiguous cache in this form, in the dtype of the cache; of pages that no row has it is ``like``."""
        if self.page:
            table = given[TABLE].long()
            pages = self._exchanged({CACHES[0]: like.to(cache.dtype)})[CACHES[0]].clone()
            pages[table] = cache.unflatten(1, (table.shape[1], self.page))
            cache = pages
        return cache.transpose(1, 2) if self.heads_first else cache

    def _exchanged(self, inputs: Inputs) -> Inputs:
        if not self.heads_first:
            return inputs
        return inputs | {name: inputs[name].transpose(1, 2).contiguous() for name in CACHES if name in inputs}

    def _paged(self, inputs: Inputs, case: Case) -> Inputs:
        batch, slots = inputs[CACHES[0]].shape[:2]
        count = math.ceil(slots / self.page)
        order = torch.randperm(batch * count + 1, generator=torch.Generator().manual_seed(case.entropy))
        table = order[: batch * count].view(batch, count).to(inputs[CACHES[0]].device)
        return inputs | {name: self._pages(inputs[name], table) for name in CACHES} | {TABLE: table.int()}

    def _pages(self, cache: Tensor, table: Tensor) -> Tensor:
        (batch, slots, *rest), count = cache.shape, table.shape[1]
        full = cache.new_full((batch, count * self.page, *rest), math.nan)
        full[:, :slots] = cache
        pages = cache.new_full((batch * count + 1, self.page, *rest), math.nan)
        pages[table] = full.unflatten(1, (count, self.page))
        return pages


def in_form(op: Op, form: CacheForm) -> Op:
    """The op whose caches are given in this form."""
    signature = _signature(op.call, form)

    def call(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(given: Inputs) -> Any:
            plain = form.contiguous(given)
            returned = function(**plain)
            for name in op.contract.mutates:
                given[name].copy_(form.laid_out(plain[name], given[name], given))
            return returned

        return _taking(signature, function, called)

    def bound(given: Inputs) -> tuple[Tensor, ...]:
        errors, count = op.bound(**form.contiguous(given)), len(op.contract.mutates)
        returned, written = (errors[:-count], errors[-count:]) if count else (errors, ())
        zero = torch.zeros_like(given[CACHES[0]], dtype=torch.float64)
        return *returned, *(form.laid_out(error, zero, given) for error in written)

    formed = replace(op, call=call(op.call), reference=call(op.reference), contract_checks={})
    return replace(formed, bound=_taking(signature, op.bound, bound))


def _taking(signature: inspect.Signature, like: Callable[..., Any], of_all: Callable[[Inputs], Any]) -> Any:
    @functools.wraps(like)
    def function(*args: Any, **kwargs: Any) -> Any:
        return of_all(dict(signature.bind(*args, **kwargs).arguments))

    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def _signature(call: Callable[..., Any], form: CacheForm) -> inspect.Signature:
    """The op's, with the block table after all other required arguments."""
    signature = inspect.signature(call)
    if not form.page:
        return signature
    parameters = list(signature.parameters.values())
    at = sum(one.default is one.empty for one in parameters)
    table = inspect.Parameter(TABLE, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="Tensor")
    return signature.replace(parameters=[*parameters[:at], table, *parameters[at:]])
