"""Timing baselines of ``attention_decode``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from braidcheck.kernels.common.baselines import SDPA_BACKENDS


def libraries(inputs: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """PyTorch's attention by each of its fast backends, which take no rows of several lengths."""
    if len(inputs["lengths"]) > 1:
        return {}
    return {name: _sdpa(backend) for name, backend in SDPA_BACKENDS.items()}


def _sdpa(backend: SDPBackend) -> Callable[..., Any]:
    def call(q, k_cache, v_cache, lengths, scale):
        k, v = k_cache.transpose(1, 2), v_cache.transpose(1, 2)
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q[:, :, None], k, v, scale=scale, enable_gqa=True)[:, :, 0]

    return call
