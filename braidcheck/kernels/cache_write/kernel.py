"""KV cache write: a scatter of the new tokens' K and V rows into their slots.

    k_cache[rows[t], slots[t]] = k[t],  v_cache[rows[t], slots[t]] = v[t]

Grid: one program per BLOCK_M tokens. Tile: [BLOCK_M, BLOCK_N], BLOCK_N >= N = Hkv * D, all heads of a token.
Traffic: K and V are read once and written once.
Numerics: a copy; nothing is rounded.
Out of range: a row or slot outside the cache is not written anywhere, so memory beside the cache stays intact.
Synchronisation (PDL): lets the next kernel start at once and waits for the upstream kernels before all loads. Each
(row, slot) pair must occur at most once.
"""

from __future__ import annotations

import triton
import triton.language as tl

from braidcheck.kernels.common import pdl


@triton.jit
def _cache_write(
    # pointers
    k_ptr,
    v_ptr,
    k_cache_ptr,
    v_cache_ptr,
    rows_ptr,
    slots_ptr,
    # sizes
    num_tokens,
    batch,
    capacity,
    # strides
    stride_km,
    stride_vm,
    stride_k_cache_b,
    stride_v_cache_b,
    # meta
    N: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    USE_PDL: tl.constexpr,
):
    """k, v [num_tokens, N] into caches [batch, capacity, N]."""
    pdl.launch_dependents(USE_PDL)
    pdl.grid_dependency_wait(USE_PDL)
    offs_m = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    offs_n = tl.arange(0, BLOCK_N)
    token_mask = offs_m < num_tokens
    rows = tl.load(rows_ptr + offs_m, mask=token_mask, other=0).to(tl.int64)
    slots = tl.load(slots_ptr + offs_m, mask=token_mask, other=0).to(tl.int64)
    in_bounds = token_mask & (rows >= 0) & (rows < batch) & (slots >= 0) & (slots < capacity)
    mask = in_bounds[:, None] & (offs_n < N)[None, :]
    # [BLOCK_M, BLOCK_N]
    k = tl.load(k_ptr + offs_m[:, None] * stride_km + offs_n[None, :], mask=mask)
    v = tl.load(v_ptr + offs_m[:, None] * stride_vm + offs_n[None, :], mask=mask)
    offs_slot = slots[:, None] * N + offs_n[None, :]
    tl.store(k_cache_ptr + rows[:, None] * stride_k_cache_b + offs_slot, k, mask=mask)
    tl.store(v_cache_ptr + rows[:, None] * stride_v_cache_b + offs_slot, v, mask=mask)
