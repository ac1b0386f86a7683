"""Contract variants: what other libraries do on purpose where an op's contract does otherwise.

Each convention is declared here once; ``contract_variants`` makes an op of an op and of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from braidcheck.errors import UserError
from braidcheck.numerics import attention
from braidcheck.numerics.argument_form import PACKED_QKV, TWO_TABLES, ArgumentForm
from braidcheck.numerics.attention import ScoreRule
from braidcheck.numerics.cache_layout import CacheLayout
from braidcheck.numerics.rounding import PLAIN, NormWeight
from braidcheck.op import Op

NORMS = ("rms_norm", "rms_norm_qkv", "gate_up_silu", "qk_norm_rope", "qkv_rope")
HEADS = ("qk_norm_rope", "qkv_rope", "decode_attention", "fused_attention")
ATTENTION = ("attention_prefill", "attention_decode")
CACHED = ("attention_prefill", "attention_decode", "decode_attention", "cache_write")
ANY_ATTENTION = (*ATTENTION, "decode_attention", "fused_attention")
OUTPUTS = {  # of ops that give float32
    "rms_norm": {"y": "out_dtype or x", "sum": "x"},
    "lm_head": {"logits": "int64 if argmax or weight"},
}
STREAM = {  # the argument of a float32 residual stream, and that whose dtype other libraries give it in
    "qkv_rope": ("x", "qkv_weight"), "rms_norm_qkv": ("x", "qkv_weight"), "gate_up_silu": ("x", "weight"),
    "lm_head": ("x", "weight"),
}  # fmt: skip
RESIDUAL = {"linear_residual": ("residual", "x")}  # likewise
TABLE = {"qk_norm_rope": ("cos_sin", "q"), "qkv_rope": ("cos_sin", "qkv_weight")}  # likewise
OVERWRITTEN = {"rms_norm": ("x", "residual"), "qk_norm_rope": ("q", "k")}


@dataclass(frozen=True)
class Convention:
    """One thing that another library does otherwise, who does it, and the ops that it concerns.

    ``other_op``: it is no matter of rounding, so a function that does it by mistake is wrong. ``casts`` are cast points
    that references gain. ``narrows`` says for each op which argument is given in the dtype of which other;
    ``if_refused``: this is tried only where a function refuses the op's own inputs. ``in_place`` lets the call write
    into its inputs. Cases of ``profile`` are left out. RoPE: ``interleaved`` rotates neighbouring elements in place of
    halves, ``rotary`` is the fraction of a head that is rotated. Attention: ``scores`` is the rule for scores,
    ``scale`` the scale of every call, ``log_base`` the base of the log-sum-exp that is returned too, ``cache`` the
    cache's layout. ``arguments`` is the form in which the function takes them. Samplers: with ``own_noise`` only
    the distribution of draws counts.
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
    interleaved: bool = False
    rotary: float = 0.0
    scores: ScoreRule = attention.PLAIN
    scale: float = 0.0
    log_base: float = 0.0
    cache: CacheLayout | None = None
    arguments: ArgumentForm | None = None
    own_noise: bool = False

    @property
    def choice(self) -> str:
        """What it chooses: a function follows at most one convention of each choice."""
        return self.name.partition("=")[0]

    @property
    def waives(self) -> bool:
        """Whether it only asks for less: no number changes."""
        return self.in_place or bool(self.profile)


CONVENTIONS = (
    Convention("x=weight dtype", "as PyTorch's products and most libraries' take it", tuple(STREAM), narrows=STREAM),
    Convention("cos_sin=heads dtype", "as fla takes its table", tuple(TABLE), narrows=TABLE, if_refused=True),
    Convention("residual=x dtype", "as libraries of one dtype", tuple(RESIDUAL), narrows=RESIDUAL, if_refused=True),
    Convention("output=input dtype", "as Liger, vLLM, SGLang and fla return it", tuple(OUTPUTS), outputs=True),
    Convention("rounding=before weight", "as HF defines Llama and Qwen3", NORMS, weight=NormWeight(rounded=True)),
    Convention("sum=rounded before norm", "as HF's decoder layers add", ("rms_norm",), casts=("sum",)),
    Convention("heads=rounded before RoPE", "as libraries whose norm is a call of its own", HEADS, casts=("heads",)),
    Convention("rope=input dtype", "as HF rotates, angles in the heads' dtype", HEADS, casts=("rope",)),
    Convention("scores=input dtype", "as HF's eager attention", ATTENTION, casts=("scores",)),
    Convention("nan=not kept", "as PyTorch's attention on a CPU", ATTENTION, profile="nan"),
    Convention("noise=own", "as PyTorch and FlashInfer draw", ("sample",), own_noise=True),
    Convention("inputs=overwritten", "as vLLM and conch work", tuple(OVERWRITTEN), in_place=True, other_op=True),
    Convention("weight=1 + weight", "as Gemma defines it", NORMS, weight=NormWeight(offset=1.0), other_op=True),
    Convention("pairs=interleaved", "as GPT-J and GLM rotate", HEADS, interleaved=True, other_op=True),
    Convention("lse=natural", "as FlashAttention and PyTorch return it", ATTENTION, log_base=math.e),
    Convention("lse=base 2", "as FlashInfer returns it", ATTENTION, log_base=2.0, other_op=True),
)
FORMS = (  # of arguments; never detected
    Convention("layout=HND", "as TensorRT-LLM keeps a cache", CACHED, cache=CacheLayout(heads_first=True)),
    Convention("table=cos and sin", "as FlashAttention takes them", HEADS, arguments=TWO_TABLES),
    Convention("qkv=packed", "as a product of all three leaves them", ("decode_attention",), arguments=PACKED_QKV),
)


@dataclass(frozen=True)
class Numbered:
    """A convention with a number; ``made`` gives its fields for that number.

    braidcheck never tries one unasked: with another number it is another op.
    """

    choice: str
    used_by: str
    ops: tuple[str, ...]
    made: Callable[[float], dict[str, Any]]
    is_whole: bool = True
    largest: float = math.inf

    def convention(self, text: str) -> Convention:
        """The convention with the number in ``text``. Raises UserError if that is no number in range."""
        try:
            number = int(text) if self.is_whole else float(text)
        except ValueError:
            number = 0
        if not 0 < number <= self.largest or number == math.inf:
            most = f" and at most {self.largest:g}" if self.largest < math.inf else ""
            raise UserError(f"{self.choice}={text} must be a {'whole ' * self.is_whole}number above 0{most}")
        return Convention(f"{self.choice}={number:g}", self.used_by, self.ops, **self.made(number))


NUMBERED = (
    Numbered("window", "keys a query sees, as Mistral", ANY_ATTENTION, lambda n: {"scores": ScoreRule(window=int(n))}),
    Numbered("softcap", "as Gemma 2 and Grok", ANY_ATTENTION, lambda n: {"scores": ScoreRule(softcap=n)}, False),
    Numbered("scale", "as models with a scale of their own", ANY_ATTENTION, lambda n: {"scale": n}, False),
    Numbered("page", "slots, as vLLM and SGLang cache", CACHED, lambda n: {"cache": CacheLayout(page=int(n))}),
    Numbered("rotary", "part of a head, as GPT-NeoX and Phi", HEADS, lambda n: {"rotary": n}, False, 1.0),
)


def about(op: Op) -> list[Convention]:
    """The conventions that concern the op, but for those that are only tried when they are named."""
    return [one for one in CONVENTIONS if op.name in one.ops]


def named(op: Op, words: Iterable[str]) -> tuple[Convention, ...]:
    """The conventions of ``op`` with these names, such as "output=input dtype". The beginning of a value is enough if
    only one name has it, and "-" may stand for a space. Raises UserError for a name that the op does not have."""
    known = {one.name: one for one in (*about(op), *FORMS) if op.name in one.ops}
    numbered = {one.choice: one for one in NUMBERED if op.name in one.ops}
    found: list[Convention] = []
    for word in words:
        what, _, value = (part.strip().replace("-", " ") for part in word.partition("="))
        fitting = [name for name in known if value and name.startswith(f"{what}={value}")]
        if what in numbered:
            found.append(numbered[what].convention(word.partition("=")[2].strip()))
        elif len(fitting) == 1:
            found.append(known[fitting[0]])
        else:
            names = [*known, *(f"{choice}=NUMBER" for choice in numbered)]
            choices = f"one of {', '.join(names)}" if names else "it has none but its own"
            raise UserError(f"{op.name} has no contract with {word!r}; {choices}")
    if len({one.choice for one in found}) < len(found):
        raise UserError(f"{op.name}: {' and '.join(one.name for one in found)} exclude each other; keep one of each")
    return tuple(sorted(found, key=lambda one: list(known).index(one.name) if one.name in known else len(known)))


def name(op: Op, conventions: tuple[Convention, ...]) -> str:
    """``rms_norm(output=input dtype)``."""
    return f"{op.name}({', '.join(one.name for one in conventions)})" if conventions else op.name
