"""An op under contract variants: the same cases, inputs and checks, another reference, contract and bound, which is
derived from that reference."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any

import torch

from braidcheck.numerics import attention, bounds, rope
from braidcheck.numerics.argument_form import ArgumentForm, in_argument_form
from braidcheck.numerics.attention import ScoreRule
from braidcheck.numerics.cache_layout import CacheLayout, with_cache_layout
from braidcheck.numerics.conventions import OUTPUTS, OVERWRITTEN, Convention, about
from braidcheck.numerics.own_noise import with_own_noise
from braidcheck.numerics.rounding import PLAIN, NormWeight, cast_points, norm_weight
from braidcheck.op import Case, Inputs, Op

MAX_KEPT = 256  # references and bounds: more than all ops have under the conventions that are tried


@dataclass(frozen=True)
class _Rules:
    """What references do otherwise; each rule has a context variable of its own."""

    weight: NormWeight = PLAIN
    casts: frozenset[str] = frozenset()
    scores: ScoreRule = attention.PLAIN
    interleaved: bool = False

    @classmethod
    def of(cls, conventions: tuple[Convention, ...]) -> _Rules:
        """The rules of all of these."""
        rounded = any(one.weight.rounded for one in conventions)
        return cls(
            NormWeight(rounded, sum(one.weight.offset for one in conventions)),
            frozenset(cast for one in conventions for cast in one.casts),
            ScoreRule(*(max(getattr(one.scores, part) for one in conventions) for part in ("window", "softcap"))),
            any(one.interleaved for one in conventions),
        )

    def keep(self) -> None:
        """From now on references that run in this context follow them."""
        norm_weight.set(self.weight)
        cast_points.set(self.casts)
        attention.score_rule.set(self.scores)
        rope.interleaved.set(self.interleaved)


def variants(op: Op) -> Iterator[tuple[tuple[Convention, ...], Op]]:
    """The op under every set of conventions that change its numbers, the fewest first; under none it is itself."""
    # "sum" is left out: the bits of the returned sum show it.
    choices = [one for one in about(op) if not one.waives and one.casts != ("sum",)]
    for count in range(len(choices) + 1):
        for chosen in itertools.combinations(choices, count):
            if len({one.choice for one in chosen}) == count:
                yield chosen, under(op, chosen)


def under(op: Op, conventions: tuple[Convention, ...]) -> Op:
    """The op under these conventions."""
    if any(one.outputs for one in conventions):
        op = replace(op, contract=replace(op.contract, outputs=OUTPUTS[op.name]))
    if any(one.in_place for one in conventions):
        op = replace(op, contract=replace(op.contract, overwrites=OVERWRITTEN[op.name]))
    if unasked := {one.profile for one in conventions if one.profile}:
        op = replace(op, cases=tuple(case for case in op.cases if case.profile not in unasked))
    for one in conventions:
        if one.narrows:
            op = _narrowed(op, *one.narrows[op.name])
        if one.scale:
            op = _given(op, functools.partial(_scaled, one.scale))
        if one.own_noise:
            op = with_own_noise(op)
        if one.rotary:
            op = _given(op, functools.partial(_partly_rotated, one.rotary))
    return _in_forms(_otherwise_computed(op, conventions), conventions) if conventions else op


def _otherwise_computed(op: Op, conventions: tuple[Convention, ...]) -> Op:
    """The op with the reference of these conventions, and a bound derived from it."""
    rules = _Rules.of(conventions)
    log_base = max(one.log_base for one in conventions)
    if rules == _Rules() and not log_base:
        return op
    if log_base:
        op = _with_log_sum_exp(op, log_base)
    reference, bound = _reference_and_bound(
        op.reference, op.contract.mutates, tuple(op.contract.result_casts.items()), rules
    )
    return replace(op, reference=reference, bound=bound, contract_checks={})


@functools.lru_cache(maxsize=MAX_KEPT)
def _reference_and_bound(
    reference: Callable[..., Any], mutates: tuple[str, ...], result_casts: tuple[tuple[str, str], ...], rules: _Rules
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The same functions for the same rules: what was answered under them is known by its functions."""
    bound = bounds.derived(reference, mutates, dict(result_casts))
    return _otherwise(reference, rules), _otherwise(bound, rules)


def _with_log_sum_exp(op: Op, base: float) -> Op:
    """The op that returns the logarithm to this base of its scores' sum of exponentials, too."""

    @functools.wraps(op.reference)
    def reference(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        lse = op.further_outputs["lse"](*args, **kwargs)
        return op.reference(*args, **kwargs), lse if base == math.e else lse * (1 / math.log(base))

    contract = replace(op.contract, outputs={**op.contract.outputs, "lse": "float32"})
    return replace(op, reference=reference, contract=contract)


def _in_forms(op: Op, conventions: tuple[Convention, ...]) -> Op:
    """The op with its arguments and caches in the forms of these conventions."""
    for one in conventions:
        if one.arguments:
            op = in_argument_form(_given(op, functools.partial(_in_argument_form, one.arguments)), one.arguments)
    layouts = [one.cache for one in conventions if one.cache]
    if not layouts:
        return op
    layout = CacheLayout(max(one.page for one in layouts), any(one.heads_first for one in layouts))
    return with_cache_layout(_given(op, layout.to_layout), layout)


def _in_argument_form(form: ArgumentForm, inputs: Inputs, case: Case) -> Inputs:
    return form.given(inputs)


def _narrowed(op: Op, name: str, like: str) -> Op:
    """The op whose argument ``name`` is given in the dtype of ``like``."""
    return _given(op, lambda inputs, _: inputs | {name: inputs[name].to(inputs[like].dtype)})


def _scaled(scale: float, inputs: Inputs, case: Case) -> Inputs:
    return inputs | {"scale": scale}


def _partly_rotated(part: float, inputs: Inputs, case: Case) -> Inputs:
    """The inputs whose table rotates this part of a head, at least one pair, and leaves the rest of it."""
    table = inputs["cos_sin"]
    pairs = max(1, int(part * table.shape[1] / 2))
    return inputs | {"cos_sin": torch.cat([half[:, :pairs] for half in table.chunk(2, -1)], -1)}


def _given(op: Op, change: Callable[[Inputs, Case], Inputs]) -> Op:
    """The op whose inputs, in cases and in sweeps, are changed by ``change``."""

    def changed(inputs: Callable[[Case, str], Inputs]) -> Callable[[Case, str], Inputs]:
        @functools.wraps(inputs)
        def given(case: Case, device: str) -> Inputs:
            return change(inputs(case, device), case)

        return given

    sweeps = tuple(replace(one, inputs=changed(one.inputs)) if one.inputs else one for one in op.sweeps)
    return replace(op, inputs=changed(op.inputs), sweeps=sweeps)


def _otherwise(function: Callable[..., Any], rules: _Rules) -> Callable[..., Any]:
    @functools.wraps(function)
    def otherwise(*args: Any, **kwargs: Any) -> Any:
        context = copy_context()
        context.run(rules.keep)
        return context.run(function, *args, **kwargs)

    return otherwise
