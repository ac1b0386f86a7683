"""Honest variants of every op: other roundings under the same contract, which no gate may refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from braidcheck.mutants.honest import fused, heads, projections, sampling
from braidcheck.mutants.honest.blocks import IN_BLOCKS, SIZES, in_blocks, other_blocks
from braidcheck.mutants.honest.pieces import STYLES, UNROUNDED

Variant = Callable[..., Any]

# By op: its computation with the style before the wrapper's arguments. All are written in each of STYLES.
_WRITTEN: dict[str, Variant] = {
    "rms_norm": heads.rms_norm,
    "rms_norm_qkv": projections.rms_norm_qkv,
    "qkv_rope": projections.qkv_rope,
    "qk_norm_rope": heads.qk_norm_rope,
    "attention_prefill": heads.attention_prefill,
    "attention_decode": heads.attention_decode,
    "decode_attention": heads.decode_attention,
    "fused_attention": fused.fused_attention,
    "linear_residual": projections.linear_residual,
    "gate_up_silu": projections.gate_up_silu,
    "lm_head": projections.lm_head,
}
_WITHOUT_OPERAND_CASTS = ("rms_norm", "qk_norm_rope", "linear_residual")
_SPLIT = STYLES["split"]
_MORE: dict[str, dict[str, Variant]] = {
    "cache_write": {
        "one by one": heads.cache_write_one_by_one,
        "flat": heads.cache_write_flat,
        "last first": heads.cache_write_last_first,
    },
    "decode_attention": {"three kernels": fused.step_separated},
    "fused_attention": {"five kernels": fused.separated},
    "linear_residual": {
        "product rounded": partial(projections.linear_residual_rounded, _SPLIT),
        "library": projections.linear_residual_by_library,
    },
    "gate_up_silu": {
        "gate, up, silu rounded": partial(projections.gate_up_silu_rounded, _SPLIT),
        "library": partial(projections.gate_up_silu_by_library, _SPLIT),
    },
    "sample": {
        "sorted": sampling.sample_sorted,
        "halving": sampling.sample_halving,
        "from the end": sampling.sample_from_the_end,
    },
}


def find(op: str) -> dict[str, Variant]:
    """The honest variants of the op called ``op``, by name, each called exactly like its wrapper; none if unknown."""
    found: dict[str, Variant] = {"other blocks": other_blocks(op)} if op in SIZES else {}
    if op in IN_BLOCKS:
        found["in blocks"] = in_blocks(op)
    if op in _WRITTEN:
        styles = STYLES if op in _WITHOUT_OPERAND_CASTS else STYLES | UNROUNDED
        found |= {name: partial(_WRITTEN[op], style) for name, style in styles.items()}
    return found | _MORE.get(op, {})
