"""Equivalent implementations of every op: other roundings under the same contract, which no gate may refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from braidcheck import kernels
from braidcheck.mutants.honest import composed
from braidcheck.mutants.honest.blocks import IN_BLOCKS, SIZES, in_blocks, other_blocks

Variant = Callable[..., Any]

# An op's own folder holds its other implementations; it may not import the ops that these are composed of.
_COMPOSED: dict[str, dict[str, Variant]] = {
    "decode_attention": {"three kernels": composed.decode_separated},
    "fused_attention": {"five kernels": composed.separated},
}


def find(op: str) -> dict[str, Variant]:
    """The equivalent implementations of the op called ``op``, by name, each called exactly like its wrapper; none if
    unknown."""
    found: dict[str, Variant] = {"other blocks": other_blocks(op)} if op in SIZES else {}
    if op in IN_BLOCKS:
        found["in blocks"] = in_blocks(op)
    declared = kernels.find()[op].variants if op in kernels.find() else {}
    return {**found, **declared, **_COMPOSED.get(op, {})}
