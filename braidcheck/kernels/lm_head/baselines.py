"""Timing baselines of ``lm_head``."""

from __future__ import annotations

import torch.nn.functional as F

from braidcheck.kernels.common.baselines import eager_rms_norm


def eager(x, norm_weight, weight, eps, argmax=False):
    """The op, an operation at a time."""
    logits = F.linear(eager_rms_norm(x, norm_weight, eps).to(weight.dtype), weight)
    return logits.argmax(-1) if argmax else logits.float()
