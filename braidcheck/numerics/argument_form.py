"""Arguments as other libraries take them: cosines and sines as two tables, or q, k and v in one tensor."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from braidcheck.op import Inputs, Op


@dataclass(frozen=True)
class ArgumentForm:
    """The op's arguments ``replaced``, which stand together, are given as the arguments ``by``."""

    replaced: tuple[str, ...]
    by: tuple[str, ...]
    given_as: Callable[[Inputs], Inputs]
    taken_from: Callable[[Inputs], Inputs]

    def given(self, inputs: Inputs) -> Inputs:
        """The op's inputs in this form."""
        return self._without(inputs, self.replaced) | self.given_as(inputs)

    def plain(self, given: Inputs) -> Inputs:
        """The inputs as the op takes them."""
        return self._without(given, self.by) | self.taken_from(given)

    def signature(self, call: Callable[..., Any]) -> inspect.Signature:
        """The op's, with this form's arguments in the place of the replaced ones."""
        signature = inspect.signature(call)
        parameters = list(signature.parameters.values())
        at = [one.name for one in parameters].index(self.replaced[0])
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        by = [inspect.Parameter(name, kind, annotation="Tensor") for name in self.by]
        return signature.replace(parameters=[*parameters[:at], *by, *parameters[at + len(self.replaced) :]])

    def _without(self, inputs: Inputs, names: tuple[str, ...]) -> Inputs:
        return {name: value for name, value in inputs.items() if name not in names}


def _two_tables(inputs: Inputs) -> Inputs:
    return {name: half.contiguous() for name, half in zip(TWO_TABLES.by, inputs["cos_sin"].chunk(2, -1), strict=True)}


def _one_table(given: Inputs) -> Inputs:
    return {"cos_sin": torch.cat([given[name] for name in TWO_TABLES.by], -1)}


def _packed(inputs: Inputs) -> Inputs:
    return {"qkv": torch.cat([inputs[name] for name in PACKED_QKV.replaced], 1)}


def _unpacked(given: Inputs) -> Inputs:
    heads, kv_heads = given["qkv"].shape[1], given["k_cache"].shape[2]
    parts = given["qkv"].split([heads - 2 * kv_heads, kv_heads, kv_heads], 1)
    return dict(zip(PACKED_QKV.replaced, parts, strict=True))


TWO_TABLES = ArgumentForm(("cos_sin",), ("cos", "sin"), _two_tables, _one_table)
PACKED_QKV = ArgumentForm(("q", "k", "v"), ("qkv",), _packed, _unpacked)


def in_argument_form(op: Op, form: ArgumentForm) -> Op:
    """The op that takes these arguments; its inputs are still its own."""
    signature = form.signature(op.call)

    def taking(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(**form.plain(dict(signature.bind(*args, **kwargs).arguments)))

        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    return replace(op, call=taking(op.call), reference=taking(op.reference), bound=taking(op.bound), contract_checks={})
