"""Contract variants: what other libraries do on purpose where an op's contract does otherwise.

Each convention is declared here once and makes an op of an op: the same cases, inputs and checks, another reference,
contract and bound, which is derived from that reference.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from braidcheck.errors import UserError
from braidcheck.numerics import bounds
from braidcheck.numerics.rounding import PLAIN, NormWeight, norm_weight
from braidcheck.op import Op

# Casts that a contract permits and its reference does not make: a function of PyTorch, and an argument of that dtype.
PERMITTED_CASTS = {
    "linear_residual": {"matmul": "x"},
    "qkv_rope": {"linear": "qkv_weight"},
    "gate_up_silu": {"matmul": "weight", "silu": "weight"},
}
NORMS = ("rms_norm", "rms_norm_qkv", "gate_up_silu", "qk_norm_rope", "qkv_rope")
OUTPUTS = {"rms_norm": {"y": "out_dtype or x", "sum": "x"}}  # of ops that give float32


@dataclass(frozen=True)
class Convention:
    """One thing that is done otherwise, where it is so, and the ops that it is about.

    ``other_op``: it is no matter of rounding, so a function that does it by mistake is wrong.
    """

    name: str
    used_by: str
    ops: tuple[str, ...]
    outputs: bool = False
    weight: NormWeight = PLAIN
    other_op: bool = False


CONVENTIONS = (
    Convention("output=input dtype", "as Liger, vLLM, SGLang and fla return it", tuple(OUTPUTS), outputs=True),
    Convention("rounding=before weight", "as HF defines Llama and Qwen3", NORMS, weight=NormWeight(rounded=True)),
    Convention("weight=1 + weight", "as Gemma defines it", NORMS, weight=NormWeight(offset=1.0), other_op=True),
)


def variants(op: Op) -> Iterator[tuple[tuple[Convention, ...], Op]]:
    """The op under every set of conventions that are about it, the fewest first; under none it is the op itself."""
    about = [one for one in CONVENTIONS if op.name in one.ops]
    for count in range(len(about) + 1):
        for chosen in itertools.combinations(about, count):
            yield chosen, under(op, chosen)


def under(op: Op, conventions: tuple[Convention, ...]) -> Op:
    """The op as these conventions have it."""
    if any(one.outputs for one in conventions):
        op = replace(op, contract=replace(op.contract, outputs=OUTPUTS[op.name]))
    rounded = any(one.weight.rounded for one in conventions)
    weight = NormWeight(rounded, sum(one.weight.offset for one in conventions))
    if weight == PLAIN:
        return op
    derived = bounds.derived(op.reference, op.contract.mutates, PERMITTED_CASTS.get(op.name, {}))
    return replace(op, reference=_weighted(op.reference, weight), bound=_weighted(derived, weight), contract_checks={})


def named(op: Op, words: Iterable[str]) -> tuple[Convention, ...]:
    """The conventions of ``op`` with these names, such as "output=input dtype"; the beginning of the value will do,
    and "-" for a space. Raises UserError for one that the op has not."""
    about = {one.name: one for one in CONVENTIONS if op.name in one.ops}
    found = []
    for word in words:
        what, _, value = (part.strip().replace("-", " ") for part in word.partition("="))
        fitting = [name for name in about if value and name.startswith(f"{what}={value}")]
        if len(fitting) != 1:
            choices = f"one of {', '.join(about)}" if about else "it has none but its own"
            raise UserError(f"{op.name} has no contract with {word!r}; {choices}")
        found.append(about[fitting[0]])
    return tuple(one for one in CONVENTIONS if one in found)


def name(op: Op, conventions: tuple[Convention, ...]) -> str:
    """``rms_norm(output=input dtype)``."""
    return f"{op.name}({', '.join(one.name for one in conventions)})" if conventions else op.name


def _weighted(function: Callable[..., Any], weight: NormWeight) -> Callable[..., Any]:
    @functools.wraps(function)
    def weighted(*args: Any, **kwargs: Any) -> Any:
        token = norm_weight.set(weight)
        try:
            return function(*args, **kwargs)
        finally:
            norm_weight.reset(token)

    return weighted
