"""Timing baselines of ``attention_prefill``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from braidcheck.kernels.common.baselines import SDPA_BACKENDS


def eager(q, k, v, scale):
    """Causal attention of one sequence from its first token on, an operation at a time."""
    tokens = len(q)
    keys, values = (part.transpose(0, 1).repeat_interleave(q.shape[1] // part.shape[1], dim=0) for part in (k, v))
    scores = (q.transpose(0, 1) @ keys.transpose(1, 2)).float() * scale
    later = torch.ones(tokens, tokens, dtype=torch.bool, device=q.device).triu(1)
    p = scores.masked_fill(later, float("-inf")).softmax(-1)
    return (p.to(values.dtype) @ values).transpose(0, 1)


def libraries(inputs: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """PyTorch's attention by each of its fast backends."""
    return {name: _sdpa(backend) for name, backend in SDPA_BACKENDS.items()}


def _sdpa(backend: SDPBackend) -> Callable[..., Any]:
    def call(q, k, v, scale):
        q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
        with sdpa_kernel(backend):
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
        return out[0].transpose(0, 1)

    return call
