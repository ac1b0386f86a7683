"""Checks that a decoder computes the model: compares its logits, tokens and KV cache with HF float32.

HF's own bfloat16 run is the noise floor. The seeded model ties its head to its embedding, so it repeats its token by a
wide margin. Equal tokens are therefore necessary but weak evidence; the real comparison is of the logits after the
first step and of the K and V that the timed loop wrote, layer by layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from braidcheck.benchmarks.backends import Start, Subject

STEPS = 3
# Times HF-bfloat16's own error. Other orders of rounding came to 0.8 to 1.3 of it (28 layers, contexts up to 32,768),
# RoPE theta 10,000 to 200 and more, the last layer with K's norm weight for Q to 4.8 in the logits.
LIMIT = 3.0


@dataclass(frozen=True)
class Answer:
    """Tokens int64 [B, steps], float32 logits [B,V] of the first step, and K, V, K, ... [B,steps,Hkv,D] a layer."""

    tokens: Tensor
    logits: Tensor
    written: tuple[Tensor, ...]


def answer(subject: Subject, start: Start) -> Answer:
    """The first STEPS steps of a fresh subject."""
    logits = subject.logits().float()
    tokens = subject.run(STEPS)
    slots = slice(start.filled, start.filled + STEPS)
    return Answer(tokens.clone(), logits, tuple(part.float() for part in subject.written(slots)))


def mismatch(actual: Answer, truth: Answer, floor: Answer) -> str:
    """Why ``actual`` is not the model's answer; empty if it is. ``floor`` is HF bfloat16's answer."""
    for (name, error), (_, usual) in zip(_errors(actual, truth), _errors(floor, truth), strict=True):
        if not error <= LIMIT * usual:
            return f"its {name} differ by {error:.2g} from HF's in float32, {usual:.2g} in HF's own bfloat16"
    if not torch.equal(actual.tokens, truth.tokens):
        return "its tokens are not HF's"
    return ""


def _errors(actual: Answer, truth: Answer) -> list[tuple[str, float]]:
    """The 2-norm of each difference relative to the truth's."""
    names = [f"{'KV'[number % 2]} of layer {number // 2}" for number in range(len(truth.written))] + ["logits"]
    pairs = zip((*actual.written, actual.logits), (*truth.written, truth.logits), strict=True)
    return [(name, float((got - exact).norm() / exact.norm())) for name, (got, exact) in zip(names, pairs, strict=True)]
