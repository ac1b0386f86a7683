"""A model's memory needs, checked before allocation."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from braidcheck.errors import UserError
from braidcheck.models.architecture import Config

STACKED = ("q_proj.weight", "k_proj.weight", "v_proj.weight", "gate_proj.weight", "up_proj.weight")
GIB = 2**30


def ensure_free_memory(what: str, needed: int, device: torch.device | str, remedy: str) -> None:
    """Raise UserError where ``what`` needs more bytes than are free on the device, saying what to do."""
    free = free_bytes(torch.device(device))
    if free is not None and needed > free:
        raise UserError(f"{what} need {needed / GIB:.2f} GiB, {free / GIB:.2f} GiB are free on {device}: {remedy}")


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a GPU; unlimited for a CPU."""
    if device.type != "cuda":
        return None
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # cached by PyTorch, reusable
    return torch.cuda.mem_get_info(device)[0] + kept


def weight_bytes(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> int:
    """Bytes while loading a checkpoint: each tensor as read, and stacked ones twice."""
    return dtype.itemsize * sum(math.prod(shape) * (1 + name.endswith(STACKED)) for name, shape in shapes.items())


def kv_cache_bytes(config: Config, batch: int, capacity: int, dtype: torch.dtype) -> int:
    """Bytes of K and V of all layers."""
    slot = 2 * config.num_key_value_heads * config.head_dim * dtype.itemsize
    return config.num_hidden_layers * batch * capacity * slot


def activation_bytes(config: Config, tokens: int, logits: int) -> int:
    """An upper bound on the bytes of a pass over so many tokens, without the cache, with the logits of so many rows."""
    widths = 4 * config.hidden_size + 2 * config.qkv_rows + 3 * config.intermediate_size
    return 4 * (tokens * widths + logits * config.vocab_size)
