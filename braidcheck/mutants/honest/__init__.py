"""Honest variants of every op: other roundings under the same contract, which no gate may refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from braidcheck import kernels
from braidcheck.kernels.common.variants import STYLES, UNROUNDED, in_styles
from braidcheck.mutants.honest import fused, heads
from braidcheck.mutants.honest.blocks import IN_BLOCKS, SIZES, in_blocks, other_blocks

Variant = Callable[..., Any]

# By op: its computation with the style before the wrapper's arguments. All are written in each of STYLES.
_WRITTEN: dict[str, Variant] = {
    "attention_prefill": heads.attention_prefill,
    "attention_decode": heads.attention_decode,
    "decode_attention": heads.decode_attention,
    "fused_attention": fused.fused_attention,
}
_MORE: dict[str, dict[str, Variant]] = {
    "decode_attention": {"three kernels": fused.step_separated},
    "fused_attention": {"five kernels": fused.separated},
}


def find(op: str) -> dict[str, Variant]:
    """The equivalent implementations of the op called ``op``, by name, each called exactly like its wrapper; none if
    unknown."""
    found: dict[str, Variant] = {"other blocks": other_blocks(op)} if op in SIZES else {}
    if op in IN_BLOCKS:
        found["in blocks"] = in_blocks(op)
    if op in _WRITTEN:
        found |= in_styles(_WRITTEN[op], STYLES | UNROUNDED)
    declared = kernels.find()[op].variants if op in kernels.find() else {}
    return found | declared | _MORE.get(op, {})
