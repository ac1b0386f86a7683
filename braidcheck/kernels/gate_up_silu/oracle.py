"""Reference, bound and cost.

The bound: gate g and up u are float32 dots; with a norm their operand is rounded once to the weight's dtype and carries
the norm's own error. silu'(g) = s(1 + g(1 - s)), |silu''(g)| <= min(1/2, (2 + |g|)e^-|g|), so silu(g) moves by
|silu'(g)| e_g + e_g^2/2 times the largest |silu''| within e_g, which far below 0 is as small as silu itself. The
exponential, the division and the two products round about six times, and the rounding of the exponential's argument
adds |g| more. Below -88.7 e^-g overflows and silu is 0; in float16 it is 0 too where it is less than half of the
smallest number. The contract lets gate, up and silu(gate) be rounded to the weight's dtype, as HF transformers does
(the kernels do not).
"""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.common.inputs import EPS
from braidcheck.numerics import rounding
from braidcheck.op import Case, Cost

# At least twice what silu(g) loses where it becomes 0: |silu(-88.7)| = 2.6e-37, or half of the smallest float16.
VANISHES = {torch.float32: 2.0**-119, torch.bfloat16: 2.0**-119, torch.float16: 2.0**-24}


def _normed(x: Tensor, norm_weight: Tensor | None, eps: float) -> Tensor:
    if norm_weight is None:
        return x
    return rounding.rms_normed(x, norm_weight, eps)


def reference(x: Tensor, weight: Tensor, norm_weight: Tensor | None = None, eps: float = EPS) -> Tensor:
    """Norm, one product, SiLU of the first half times the second."""
    operand = rounding.wide(_normed(x, norm_weight, eps).to(weight.dtype))
    gate, up = (operand @ rounding.wide(weight).T).chunk(2, dim=-1)
    return (torch.nn.functional.silu(gate) * up).to(weight.dtype)


def bound(x: Tensor, weight: Tensor, norm_weight: Tensor | None = None, eps: float = EPS) -> tuple[Tensor]:
    """See the module's derivation."""
    operand = _normed(x.double(), None if norm_weight is None else norm_weight.double(), eps)
    cast = weight.dtype if norm_weight is not None and weight.dtype != torch.float32 else None
    operand_error = rounding.norm_error(x.shape[1]) if norm_weight is not None else 0.0
    gate, up = (operand @ weight.double().T).chunk(2, dim=-1)
    gate_error, up_error = rounding.projection_error(operand, weight.double(), cast, operand_error).chunk(2, dim=-1)
    sigmoid, silu = gate.sigmoid(), torch.nn.functional.silu(gate)
    unit = 2 * rounding.ROUNDOFF[weight.dtype]  # a permitted cast takes half of its bound
    gate_error, up_error = gate_error + unit * gate.abs(), up_error + unit * up.abs()
    nearest = (gate.abs() - gate_error).clamp_min(0.0)  # to 0, where SiLU is bent most
    bend = ((2 + nearest) * torch.exp(-nearest)).clamp_max(0.5)
    silu_error = (sigmoid * (1 + gate * (1 - sigmoid))).abs() * gate_error + gate_error.square() / 2 * bend
    silu_error = silu_error + (unit + rounding.U32 * (6 + 3 * gate.abs())) * silu.abs() + VANISHES[weight.dtype]
    return (up.abs() * silu_error + (silu.abs() + silu_error) * up_error,)


def cost(case: Case) -> Cost:
    """Weight and x read, the product written."""
    tokens, width, inner, size = case["T"], case["H"], case["I"], getattr(torch, case.dtype).itemsize
    return Cost(size * (2 * inner * width + tokens * (width + inner)), 4 * tokens * inner * width)
