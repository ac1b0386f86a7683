"""Seeded weights of a real shape, for full-size runs without a checkpoint.

Random weights amplify rounding, so such a model is evaluated layer by layer, never by its perplexity.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.models.qwen3.architecture import EMBEDDING, Qwen3Config

# K-norm maxima reported for Qwen3-0.6B, layers 0-5 (layer 3 is not known: between its neighbours); of the other 22
# layers ten lie above 10.
REPORTED_K_NORM_MAXIMA = (96.5, 44.5, 44.0, 43.0, 41.75, 34.0)


def k_norm_maximum(layer: int) -> float:
    """The largest K-norm weight of ``layer``: as reported for the first six, then falling through 10 at layer 16."""
    if layer < len(REPORTED_K_NORM_MAXIMA):
        return REPORTED_K_NORM_MAXIMA[layer]
    return max(4.0, 30.0 - 2.0 * (layer - 6)) if layer < 16 else 8.0


def synthetic_tensors(config: Qwen3Config, seed: int, device: str) -> dict[str, Tensor]:
    """bfloat16 tensors with transformers' names: projections of about unit gain, uneven norms, large K norms.

    Deterministic for a seed and kind of device.
    """
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    tensors = {}
    for name, shape in config.tensor_shapes().items():
        if len(shape) == 1:
            tensor = torch.exp(0.3 * normal(*shape))
        else:
            tensor = normal(*shape) * (1.0 if name == EMBEDDING else shape[-1] ** -0.5)
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor *= (2 * config.num_hidden_layers) ** -0.5  # the residual stream keeps its scale
        tensors[name] = tensor
    for layer in range(config.num_hidden_layers):
        # Six channels, none the rotation partner of another. Q's weights there are small: scores keep their size.
        channels = torch.arange(6, device=device) * (config.head_dim // 2 // 6) + layer % 5
        attention = f"model.layers.{layer}.self_attn"
        tensors[f"{attention}.k_norm.weight"][channels] = k_norm_maximum(layer)
        tensors[f"{attention}.q_norm.weight"][channels] *= 0.1
    return {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
