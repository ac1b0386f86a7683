"""Building blocks of equivalent implementations: products, norms, rotations and attention in other orders and formulas.

A gate must accept each of them: they round elsewhere, within the contracts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.numerics import rope
from braidcheck.numerics.rounding import wide

CHUNK = 48  # terms of one partial sum: divides neither the widths nor the kernels' blocks
SPLITS = 7
LOG2E = 1.4426950408889634
_MATMUL = torch.backends.cuda.matmul


def product_last_first(x: Tensor, weight: Tensor) -> Tensor:
    """x[T,K] @ weight[N,K].T in float32, chunks of K added one after another from the last to the first."""
    total = torch.zeros(x.shape[0], weight.shape[0], device=x.device)
    for start in reversed(range(0, x.shape[1], CHUNK)):
        total += x[:, start : start + CHUNK] @ weight[:, start : start + CHUNK].T
    return total


def product_split(x: Tensor, weight: Tensor) -> Tensor:
    """The same by split-K: every part takes each SPLITS-th term, the float32 partials are added at the end."""
    return torch.stack([x[:, part::SPLITS] @ weight[:, part::SPLITS].T for part in range(SPLITS)]).sum(0)


def product_pairwise(x: Tensor, weight: Tensor) -> Tensor:
    """The same by pairwise summation over K."""
    length = x.shape[1]
    if length <= CHUNK:
        return x @ weight.T
    half = length // 2
    return product_pairwise(x[:, :half], weight[:, :half]) + product_pairwise(x[:, half:], weight[:, half:])


def norm_by_division(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last axis of a float32 x: divided by the root, then weighted."""
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def norm_weight_first(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The same, the weight before the factor, which is the reciprocal of the root."""
    return (x * weight) * (1.0 / torch.sqrt(x.square().mean(-1, keepdim=True) + eps))


def norm_in_chunks(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The same, the squares added chunk by chunk from the last to the first."""
    total = torch.zeros_like(x[..., :1])
    for start in reversed(range(0, x.shape[-1], CHUNK)):
        total += x[..., start : start + CHUNK].square().sum(-1, keepdim=True)
    return x * (torch.rsqrt(total / x.shape[-1] + eps) * weight)


def rotate_as_hf(x: Tensor, cos_sin: Tensor, positions: Tensor) -> Tensor:
    """RoPE of x[T,heads,D] float32 as HF transformers writes it: x * cos + rotated_half(x) * sin."""
    cos, sin = cos_sin[positions][:, None, :].chunk(2, dim=-1)
    x1, x2 = x.chunk(2, dim=-1)
    return x * torch.cat([cos, cos], -1) + torch.cat([-x2, x1], -1) * torch.cat([sin, sin], -1)


def rotate_as_complex(x: Tensor, cos_sin: Tensor, positions: Tensor) -> Tensor:
    """The same as one product of complex numbers."""
    cos, sin = cos_sin[positions][:, None, :].chunk(2, dim=-1)
    x1, x2 = x.chunk(2, dim=-1)
    rotated = torch.complex(x1, x2) * torch.complex(cos.contiguous(), sin.contiguous())
    return torch.cat([rotated.real, rotated.imag], -1)


def _partial(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """m_i, l_i and acc of some keys, P rounded to v's dtype and not normalised: [T,Hkv,G,1 or D]."""
    scores = torch.einsum("thgd,shd->thgs", wide(q), wide(k)) * scale
    scores = scores.masked_fill(~mask[:, None, None, :], -math.inf)
    m_i = scores.amax(-1, keepdim=True)
    p = torch.exp(scores - m_i.nan_to_num(neginf=0.0))
    return m_i, p.sum(-1, keepdim=True), torch.einsum("thgs,shd->thgd", wide(p.to(v.dtype)), wide(v))


def _combine_splits(splits: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    m_i, l_i, acc = (torch.stack(values) for values in zip(*splits, strict=True))
    m_max = m_i.amax(0)
    alpha = torch.exp(m_i - m_max.nan_to_num(neginf=0.0))
    return m_max, (l_i * alpha).sum(0), (acc * alpha).sum(0)


def attend_last_first(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor) -> Tensor:
    """Attention of q[T,Hkv,G,D] over k, v [S,Hkv,D], mask[T,S] (True = seen) -> float32 [T,Hkv,G,D].

    Online softmax over chunks of keys from the last to the first, divided at the end; a row that sees nothing
    gives zeros.
    """
    state: Any = None  # of the chunks so far; there is at least one
    for start in reversed(range(0, k.shape[0], CHUNK)):
        keys = slice(start, start + CHUNK)
        new = _partial(q, k[keys], v[keys], scale, mask[:, keys])
        state = new if state is None else _combine_splits([state, new])
    _, l_i, acc = state
    return acc / l_i.masked_fill(l_i == 0, 1.0)


def attend_split(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor) -> Tensor:
    """The same split over the context into SPLITS parts, each by itself, combined at the end."""
    splits = zip(k.chunk(SPLITS), v.chunk(SPLITS), mask.chunk(SPLITS, dim=1), strict=True)
    states = [_partial(q, k_part, v_part, scale, mask_part) for k_part, v_part, mask_part in splits]
    _, l_i, acc = _combine_splits(states)
    return acc / l_i.masked_fill(l_i == 0, 1.0)


def attend_two_passes(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor) -> Tensor:
    """The same in two passes with powers of two, the row's sum taken from the rounded P."""
    scores = torch.einsum("thgd,shd->thgs", wide(q), wide(k)) * (scale * LOG2E)
    scores = scores.masked_fill(~mask[:, None, None, :], -math.inf)
    p = wide(torch.exp2(scores - scores.amax(-1, keepdim=True).nan_to_num(neginf=0.0)).to(v.dtype))
    l_i = p.sum(-1, keepdim=True)
    return torch.einsum("thgs,shd->thgd", p, wide(v)) / l_i.masked_fill(l_i == 0, 1.0)


def attend_unrounded(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor) -> Tensor:
    """The same with P normalised and never rounded, the scale taken into q."""
    scores = torch.einsum("thgd,shd->thgs", wide(q) * scale, wide(k))
    p = torch.softmax(scores.masked_fill(~mask[:, None, None, :], -math.inf), dim=-1)
    p = p.masked_fill(~mask.any(-1)[:, None, None, None], 0.0)
    return torch.einsum("thgs,shd->thgd", p, wide(v))


@dataclass(frozen=True)
class Style:
    """One way to write every piece; ``rounds`` says whether operands take the casts that the contracts permit."""

    product: Callable[[Tensor, Tensor], Tensor]
    norm: Callable[[Tensor, Tensor, float], Tensor]
    rotate: Callable[[Tensor, Tensor, Tensor], Tensor]
    attend: Callable[[Tensor, Tensor, Tensor, float, Tensor], Tensor]
    rounds: bool = True

    def operand(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """x in float32, rounded to ``dtype`` first if this style rounds."""
        return wide(x.to(dtype)) if self.rounds else wide(x)


STYLES = {
    "last first": Style(product_last_first, norm_by_division, rotate_as_hf, attend_last_first),
    "split": Style(product_split, norm_weight_first, rotate_as_complex, attend_split),
    "pairwise": Style(product_pairwise, norm_in_chunks, rotate_as_hf, attend_two_passes),
}
UNROUNDED = {"no operand rounded": Style(product_pairwise, norm_by_division, rope.rotate, attend_unrounded, False)}


def in_styles(function: Callable[..., Any], styles: Mapping[str, Style]) -> dict[str, Callable[..., Any]]:
    """One implementation a style: ``function(style, ...)``, each then called like the op's wrapper."""
    return {name: partial(function, style) for name, style in styles.items()}


def attend_causal(style: Style, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """The T queries are the last of the S keys' positions: q[T,Hq,D], k, v [S,Hkv,D] -> [T,Hq,D] in q's dtype."""
    mask = torch.ones(len(q), len(k), dtype=torch.bool, device=q.device).tril(len(k) - len(q))
    return style.attend(q.unflatten(1, (k.shape[1], -1)), k, v, scale, mask).flatten(1, 2).to(q.dtype)


def attend_cached(style: Style, q: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """One query a row over the first ``lengths[b]`` slots of its cache, row by row: q[B,Hq,D] -> [B,Hq,D], 0 for 0."""
    out = torch.zeros_like(q)
    for row, length in enumerate(lengths.tolist()):
        if length:
            out[row] = attend_causal(style, q[row : row + 1], k_cache[row, :length], v_cache[row, :length], scale)[0]
    return out


@contextmanager
def float32_reduction() -> Iterator[None]:
    """The library adds its partial sums in float32 within: by default it may add them in 16 bits, which is no cast
    of any contract."""
    names = "allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction"
    before = [getattr(_MATMUL, name) for name in names]
    for name in names:
        setattr(_MATMUL, name, False)
    try:
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            setattr(_MATMUL, name, value)
