"""Reference, bound and cost.

The bound: the normalised row carries a norm's error and is rounded once to the weight's dtype (declared); the dot
accumulates in float32. The argmax form gives the lowest of the best tokens; the error ratio of another one is
(best logit - its own) / (the sum of the bounds of both).
"""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.numerics import rounding
from braidcheck.op import Case, Cost


def reference(x: Tensor, norm_weight: Tensor, weight: Tensor, eps: float, argmax: bool = False) -> Tensor:
    """Norm, a matrix product and, if asked for, the best token."""
    logits = rounding.wide(rounding.rms_normed(x, norm_weight, eps).to(weight.dtype)) @ rounding.wide(weight).T
    return logits.argmax(-1) if argmax else logits


def bound(x: Tensor, norm_weight: Tensor, weight: Tensor, eps: float, argmax: bool = False) -> tuple[Tensor]:
    """See the module's derivation. With ``argmax`` the error ratio [T,V] of each token."""
    operand = rounding.rms_normed(x.double(), norm_weight.double(), eps)
    cast = weight.dtype if weight.dtype != torch.float32 else None
    error = rounding.projection_error(operand, weight.double(), cast, rounding.norm_error(x.shape[1]))
    if not argmax:
        return (error,)
    logits = operand @ weight.double().T
    best = logits.argmax(-1, keepdim=True)
    margin = logits.gather(1, best) - logits
    return (torch.where(margin == 0, 0.0, margin / (error + error.gather(1, best))),)


def cost(case: Case) -> Cost:
    """Weight and x read, float32 logits written."""
    tokens, width, vocab, size = case["T"], case["H"], case["V"], getattr(torch, case.dtype).itemsize
    written = 8 * tokens if case.get("argmax") else 4 * tokens * vocab
    return Cost(size * width * (vocab + tokens) + written, 2 * tokens * width * vocab)
