"""Timing baselines of ``gate_up_silu``."""

from __future__ import annotations

import torch.nn.functional as F

from braidcheck.kernels.common.baselines import eager_rms_norm


def eager(x, weight, norm_weight, eps):
    """The op with its norm, an operation at a time."""
    gate, up = F.linear(eager_rms_norm(x, norm_weight, eps).to(weight.dtype), weight).chunk(2, dim=-1)
    return F.silu(gate) * up
