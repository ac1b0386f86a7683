"""The blocked softmax that all attention kernels share: one block of keys at a time, or one split at a time.

FlashAttention-2 (Dao 2023, arXiv:2307.08691), online softmax. Of the keys seen so far a query keeps

    m_i = max_j s_j        l_i = sum_j 2^(s_j - m_i)        acc = sum_j 2^(s_j - m_i) v_j

and a new block rescales l_i and acc by alpha = 2^(m_i - m_new). The output is acc / l_i. Scores are in base 2,
s = scale * log2(e) * q.k, because the hardware has exp2 and no exp.

Flash-Decoding (Dao, Haziza, Massa, Sizov 2023): splits of one row's keys are attended apart and combined by the same
rescaling. All state is float32. A query that has seen no key has m_i = -inf, l_i = 0, acc = 0 and gives zeros.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def online_softmax_update(qk, m_i, qk_scale, GUARD: tl.constexpr):
    """Take a block of scores qk [M, N] into the maximum m_i [M]; what a query may not see is -inf.

    ``qk_scale`` >= 0 is scale * log2(e), or 1.0 where the scores have it already. GUARD: a query may see no key in
    this block and those before it. Returns p [M, N], not normalised, alpha [M] and m_i; the caller then has

        l_i = l_i * alpha + sum_j p        acc = acc * alpha + p.v
    """
    m_new = tl.maximum(m_i, tl.max(qk, axis=1) * qk_scale)  # [M]
    m_safe = finite_max(m_new) if GUARD else m_new  # [M]
    p = tl.exp2(qk * qk_scale - m_safe[:, None])  # [M, N]
    alpha = tl.exp2(m_i - m_safe)  # [M]
    return p, alpha, m_new


@triton.jit
def combine_splits(partial, weights, AXIS: tl.constexpr):
    """Add up l_i or acc of splits that were attended apart, along the AXIS of the splits.

    ``weights`` = 2^(m_i - max m_i) bring them to one maximum and broadcast to ``partial``; those of no keys are 0.
    """
    return tl.sum(partial * weights, axis=AXIS)


@triton.jit
def finite_max(m):
    """``m``, but 0 where no key was seen, so that -inf - m is -inf there and not NaN."""
    return tl.where(m == float("-inf"), 0.0, m)


@triton.jit
def softmax_denominator(l_i):
    """``l_i``, but 1 where no key was seen: acc is 0 there, and so is the output."""
    return tl.where(l_i == 0.0, 1.0, l_i)
