"""Contract variants: what other libraries do on purpose where an op's contract does otherwise.

Each convention is declared here once and makes an op of an op: the same cases, inputs and checks, another reference,
contract and bound, which is derived from that reference.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from braidcheck.errors import UserError
from braidcheck.numerics import attention, bounds
from braidcheck.numerics.attention import ScoreRule
from braidcheck.numerics.cache_form import CacheForm, in_form
from braidcheck.numerics.rounding import PLAIN, NormWeight, cast_points, norm_weight
from braidcheck.op import Case, Inputs, Op

# Casts that a contract permits and its reference does not make: a function of PyTorch, and an argument of that dtype.
PERMITTED_CASTS = {
    "linear_residual": {"matmul": "x"},
    "qkv_rope": {"linear": "qkv_weight"},
    "gate_up_silu": {"matmul": "weight", "silu": "weight"},
}
NORMS = ("rms_norm", "rms_norm_qkv", "gate_up_silu", "qk_norm_rope", "qkv_rope")
HEADS = ("qk_norm_rope", "qkv_rope", "decode_attention", "fused_attention")
ATTENTION = ("attention_prefill", "attention_decode")
CACHED = ("attention_decode", "decode_attention")
ANY_ATTENTION = (*ATTENTION, "decode_attention", "fused_attention")
OUTPUTS = {  # of ops that give float32
    "rms_norm": {"y": "out_dtype or x", "sum": "x"},
    "lm_head": {"logits": "int64 if argmax or weight"},
}
STREAM = {  # the argument of a float32 residual stream, and that whose dtype other libraries give it in
    "qkv_rope": ("x", "qkv_weight"), "rms_norm_qkv": ("x", "qkv_weight"), "gate_up_silu": ("x", "weight"),
    "lm_head": ("x", "weight"),
}  # fmt: skip
TABLE = {"qk_norm_rope": ("cos_sin", "q"), "qkv_rope": ("cos_sin", "qkv_weight")}  # likewise
OVERWRITTEN = {"rms_norm": ("x", "residual"), "qk_norm_rope": ("q", "k")}


@dataclass(frozen=True)
class Convention:
    """One thing that is done otherwise, where it is so, and the ops that it is about.

    ``other_op``: it is no matter of rounding, so a function that does it by mistake is wrong. ``casts`` are cast points
    of the references, ``narrows`` tells by op which argument is given in the dtype of which, ``if_refused`` that this
    is tried only where a function refuses the op's own inputs, ``in_place`` lets the call write what it is given,
    ``profile`` names the cases that are not asked. Of attention: ``scores`` tells what is done to them, ``scale`` the
    one that every call gives, ``log_base`` the base of the log-sum-exp that is returned, too, ``cache`` how it lies.
    """

    name: str
    used_by: str
    ops: tuple[str, ...]
    outputs: bool = False
    weight: NormWeight = PLAIN
    casts: tuple[str, ...] = ()
    narrows: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    if_refused: bool = False
    in_place: bool = False
    profile: str = ""
    other_op: bool = False
    scores: ScoreRule = attention.PLAIN
    scale: float = 0.0
    log_base: float = 0.0
    cache: CacheForm | None = None

    @property
    def choice(self) -> str:
        """What it chooses: of two conventions with the same choice a function has one."""
        return self.name.partition("=")[0]

    @property
    def waives(self) -> bool:
        """Whether it asks for less, and changes no number."""
        return self.in_place or bool(self.profile)


CONVENTIONS = (
    Convention("x=weight dtype", "as PyTorch's products and most libraries' take it", tuple(STREAM), narrows=STREAM),
    Convention("cos_sin=heads dtype", "as fla takes its table", tuple(TABLE), narrows=TABLE, if_refused=True),
    Convention("output=input dtype", "as Liger, vLLM, SGLang and fla return it", tuple(OUTPUTS), outputs=True),
    Convention("rounding=before weight", "as HF defines Llama and Qwen3", NORMS, weight=NormWeight(rounded=True)),
    Convention("sum=rounded before norm", "as HF's decoder layers add", ("rms_norm",), casts=("sum",)),
    Convention("heads=rounded before RoPE", "as libraries whose norm is a call of its own", HEADS, casts=("heads",)),
    Convention("rope=input dtype", "as HF rotates, angles in the heads' dtype", HEADS, casts=("rope",)),
    Convention("scores=input dtype", "as HF's eager attention", ATTENTION, casts=("scores",)),
    Convention("nan=not kept", "as PyTorch's attention on a CPU", ATTENTION, profile="nan"),
    Convention("inputs=overwritten", "as vLLM and conch work", tuple(OVERWRITTEN), in_place=True, other_op=True),
    Convention("weight=1 + weight", "as Gemma defines it", NORMS, weight=NormWeight(offset=1.0), other_op=True),
    Convention("lse=natural", "as FlashAttention and PyTorch return it", ATTENTION, log_base=math.e),
    Convention("lse=base 2", "as FlashInfer returns it", ATTENTION, log_base=2.0, other_op=True),
)
LAYOUT = Convention("layout=HND", "as TensorRT-LLM keeps a cache", CACHED, cache=CacheForm(heads_first=True))


@dataclass(frozen=True)
class Numbered:
    """A convention with a number, which the function has built in or is given; ``made`` makes it of the number.

    None is ever detected: with another number it is another op.
    """

    choice: str
    used_by: str
    ops: tuple[str, ...]
    made: Callable[[float], dict[str, Any]]
    is_whole: bool = True

    def convention(self, text: str) -> Convention:
        """Of the number in ``text``. Raises UserError for any other text."""
        try:
            number = int(text) if self.is_whole else float(text)
        except ValueError:
            number = 0
        if not 0 < number < math.inf:
            raise UserError(f"{self.choice}={text} must be a {'whole ' * self.is_whole}number above 0")
        return Convention(f"{self.choice}={number:g}", self.used_by, self.ops, **self.made(number))


NUMBERED = (
    Numbered(
        "window",
        "keys that a query sees, as Mistral and Gemma",
        ANY_ATTENTION,
        lambda n: {"scores": ScoreRule(window=int(n))},
    ),
    Numbered("softcap", "as Gemma 2 and Grok", ANY_ATTENTION, lambda n: {"scores": ScoreRule(softcap=n)}, False),
    Numbered("scale", "as models with a scale of their own", ANY_ATTENTION, lambda n: {"scale": n}, False),
    Numbered(
        "page", "slots, as vLLM, SGLang and FlashAttention cache", CACHED, lambda n: {"cache": CacheForm(page=int(n))}
    ),
)


def variants(op: Op) -> Iterator[tuple[tuple[Convention, ...], Op]]:
    """The op under every set of conventions that change its numbers, the fewest first; under none it is itself."""
    choices = [one for one in about(op) if not one.waives and one.casts != ("sum",)]  # which its bits tell
    for count in range(len(choices) + 1):
        for chosen in itertools.combinations(choices, count):
            if len({one.choice for one in chosen}) == count:
                yield chosen, under(op, chosen)


def about(op: Op) -> list[Convention]:
    """The conventions that are about the op."""
    return [one for one in CONVENTIONS if op.name in one.ops]


def under(op: Op, conventions: tuple[Convention, ...]) -> Op:
    """The op as these conventions have it."""
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
    return _in_cache_form(_otherwise_computed(op, conventions), conventions) if conventions else op


def _otherwise_computed(op: Op, conventions: tuple[Convention, ...]) -> Op:
    """The op with the reference and bound of these conventions."""
    rounded = any(one.weight.rounded for one in conventions)
    weight = NormWeight(rounded, sum(one.weight.offset for one in conventions))
    casts = frozenset(cast for one in conventions for cast in one.casts)
    scores = ScoreRule(*(max(getattr(one.scores, part) for one in conventions) for part in ("window", "softcap")))
    log_base = max(one.log_base for one in conventions)
    if weight == PLAIN and not casts and scores == attention.PLAIN and not log_base:
        return op
    if log_base:
        op = _with_log_sum_exp(op, log_base)
    derived = bounds.derived(op.reference, op.contract.mutates, PERMITTED_CASTS.get(op.name, {}))
    reference, bound = (_otherwise(function, weight, casts, scores) for function in (op.reference, derived))
    return replace(op, reference=reference, bound=bound, contract_checks={})


def _with_log_sum_exp(op: Op, base: float) -> Op:
    """The op that returns the logarithm to this base of its scores' sum of exponentials, too."""

    @functools.wraps(op.reference)
    def reference(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        lse = op.further_outputs["lse"](*args, **kwargs)
        return op.reference(*args, **kwargs), lse if base == math.e else lse * (1 / math.log(base))

    contract = replace(op.contract, outputs={**op.contract.outputs, "lse": "float32"})
    return replace(op, reference=reference, contract=contract)


def _in_cache_form(op: Op, conventions: tuple[Convention, ...]) -> Op:
    forms = [one.cache for one in conventions if one.cache]
    if not forms:
        return op
    form = CacheForm(max(one.page for one in forms), any(one.heads_first for one in forms))
    return in_form(_given(op, form.given), form)


def _narrowed(op: Op, name: str, like: str) -> Op:
    """The op whose argument ``name`` is given in the dtype of ``like``."""
    return _given(op, lambda inputs, _: inputs | {name: inputs[name].to(inputs[like].dtype)})


def _scaled(scale: float, inputs: Inputs, case: Case) -> Inputs:
    return inputs | {"scale": scale}


def _given(op: Op, change: Callable[[Inputs, Case], Inputs]) -> Op:
    """The op whose inputs are changed so."""

    def changed(inputs: Callable[[Case, str], Inputs]) -> Callable[[Case, str], Inputs]:
        @functools.wraps(inputs)
        def given(case: Case, device: str) -> Inputs:
            return change(inputs(case, device), case)

        return given

    sweeps = tuple(replace(one, inputs=changed(one.inputs)) if one.inputs else one for one in op.sweeps)
    return replace(op, inputs=changed(op.inputs), sweeps=sweeps)


def named(op: Op, words: Iterable[str]) -> tuple[Convention, ...]:
    """The conventions of ``op`` with these names, such as "output=input dtype"; the beginning of the value will do,
    and "-" for a space. Raises UserError for one that the op has not."""
    known = {one.name: one for one in (*about(op), LAYOUT) if op.name in one.ops}
    numbered = {one.choice: one for one in NUMBERED if op.name in one.ops}
    found: list[Convention] = []
    for word in words:
        what, _, value = (part.strip().replace("-", " ") for part in word.partition("="))
        fitting = [name for name in known if value and name.startswith(f"{what}={value}")]
        if what in numbered:
            found.append(numbered[what].convention(value))
        elif len(fitting) == 1:
            found.append(known[fitting[0]])
        else:
            names = [*known, *(f"{choice}=NUMBER" for choice in numbered)]
            choices = f"one of {', '.join(names)}" if names else "it has none but its own"
            raise UserError(f"{op.name} has no contract with {word!r}; {choices}")
    if len({one.choice for one in found}) < len(found):
        raise UserError(f"{op.name}: {' and '.join(one.name for one in found)} hold a choice twice; keep one of each")
    return tuple(sorted(found, key=lambda one: list(known).index(one.name) if one.name in known else len(known)))


def name(op: Op, conventions: tuple[Convention, ...]) -> str:
    """``rms_norm(output=input dtype)``."""
    return f"{op.name}({', '.join(one.name for one in conventions)})" if conventions else op.name


def _otherwise(
    function: Callable[..., Any], weight: NormWeight, casts: frozenset[str], scores: ScoreRule
) -> Callable[..., Any]:
    @functools.wraps(function)
    def otherwise(*args: Any, **kwargs: Any) -> Any:
        tokens = norm_weight.set(weight), cast_points.set(casts), attention.score_rule.set(scores)
        try:
            return function(*args, **kwargs)
        finally:
            norm_weight.reset(tokens[0])
            cast_points.reset(tokens[1])
            attention.score_rule.reset(tokens[2])

    return otherwise
