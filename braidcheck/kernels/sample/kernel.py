"""Sampling from logits after temperature, top-k and top-p: radix select, then inverse-CDF sampling. No sort.

Radix select finds the largest key (an int32 in the order of the float32 logit) that ``k`` tokens, or the fraction
``p`` of the weight, reach: RADIX_BITS bits a pass, from the highest on. A pass is two launches: ``_histogram`` sums,
per block of the vocabulary, what reaches each of the 2**RADIX_BITS candidate keys; ``_refine`` adds the blocks up and
raises the row's threshold. ``_draw`` then walks the CDF in the order of the vocabulary: first over ``block_sums``,
then inside one block, to a uniform number of Philox4x32-10 (seed as key, position as counter).

Alabi et al., "Fast k-Selection Algorithms for Graphics Processing Units" (2012),
https://doi.org/10.1145/2133803.2345676; Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (2011),
https://doi.org/10.1145/2063384.2063405.

Grid: ``_block_max`` and ``_histogram`` (blocks of BLOCK_N tokens, blocks of BLOCK_M rows); ``_refine`` and ``_draw``
one program per BLOCK_M rows. Tiles: logits [BLOCK_M, BLOCK_N]; candidates [BLOCK_M, NUM_BINS, BLOCK_N].
Traffic: the logits once for the maxima and once a pass: eight passes for top-k, eight for top-p (one if p is 1).
Numerics: float32 throughout. A NaN counts as the largest logit, both zeros are one, equal logits share a key.
Out of range: rows past the last repeat the last row and write the same values; thresholds, which are updated in place,
are written for real rows only.
Synchronisation: by launch order alone; no atomics, so a row's result does not depend on its neighbours.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _row_offsets(pid, batch, BLOCK_M: tl.constexpr):
    """The rows of a program [BLOCK_M]; rows past the last repeat the last row."""
    return tl.minimum(pid * BLOCK_M + tl.arange(0, BLOCK_M), batch - 1).to(tl.int64)


@triton.jit
def _load_logits(logits_ptr, offs_m, offs_n, vocab_size, stride_m):
    """Logits float32 [BLOCK_M, BLOCK_N] and their mask: NaN as +inf, -0 as 0, -inf past the vocabulary."""
    mask = offs_n < vocab_size
    x = tl.load(logits_ptr + offs_m[:, None] * stride_m + offs_n, mask=mask, other=float("-inf")).to(tl.float32)
    return tl.where(x == x, x + 0.0, float("inf")), mask


@triton.jit
def _sort_keys(x):
    """int32 keys in the order of the float32 x."""
    bits = x.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def _softmax_weights(x, mask, row_max, min_key, temperature):
    """exp((x - row_max) / temperature) [BLOCK_M, BLOCK_N] of tokens whose key reaches ``min_key``, 0 of all others."""
    weights = tl.where(x == row_max[:, None], 1.0, tl.exp((x - row_max[:, None]) / temperature))
    return tl.where(mask & (_sort_keys(x) >= min_key[:, None]), weights, 0.0)


@triton.jit
def _load_row_max(block_max_ptr, offs_m, num_blocks, PADDED_BLOCKS: tl.constexpr):
    """The largest logit of each row [BLOCK_M], from those of its blocks."""
    offs_b = tl.arange(0, PADDED_BLOCKS)[None, :]
    block_max_ptrs = block_max_ptr + offs_m[:, None] * num_blocks + offs_b
    return tl.max(tl.load(block_max_ptrs, mask=offs_b < num_blocks, other=float("-inf")), axis=1)


@triton.jit
def _block_max(
    # pointers
    logits_ptr,
    block_max_ptr,
    # sizes
    batch,
    vocab_size,
    # strides
    stride_m,
    # meta
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """The largest logit of each row and block of the vocabulary."""
    offs_m = _row_offsets(tl.program_id(1), batch, BLOCK_M)
    offs_n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    x, _ = _load_logits(logits_ptr, offs_m, offs_n, vocab_size, stride_m)  # [BLOCK_M, BLOCK_N]
    tl.store(block_max_ptr + offs_m * tl.num_programs(0) + tl.program_id(0), tl.max(x, axis=1))


@triton.jit
def _histogram(
    # pointers
    logits_ptr,
    block_max_ptr,
    min_key_ptr,
    threshold_ptr,
    histogram_ptr,
    # sizes
    batch,
    vocab_size,
    # strides
    stride_m,
    # meta
    temperature,
    shift,
    NUM_BINS: tl.constexpr,
    COUNT_TOKENS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PADDED_BLOCKS: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """Cumulative histogram of one block: how many tokens, or how much weight, reaches each of NUM_BINS keys.

    Bin i is the key ``threshold + (i << shift)``. Tokens below ``min_key`` weigh nothing.
    """
    offs_m = _row_offsets(tl.program_id(1), batch, BLOCK_M)
    offs_n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    x, mask = _load_logits(logits_ptr, offs_m, offs_n, vocab_size, stride_m)  # [BLOCK_M, BLOCK_N]
    if COUNT_TOKENS:
        weights = tl.full(x.shape, 1.0, dtype=tl.float32)  # what is past the vocabulary is below all keys that matter
    else:
        row_max = _load_row_max(block_max_ptr, offs_m, tl.num_programs(0), PADDED_BLOCKS)
        weights = _softmax_weights(x, mask, row_max, tl.load(min_key_ptr + offs_m), temperature)
    bins = tl.arange(0, NUM_BINS)[None, :]
    bin_keys = tl.load(threshold_ptr + offs_m)[:, None] + (bins << shift)  # [BLOCK_M, NUM_BINS]
    reached = _sort_keys(x)[:, None, :] >= bin_keys[:, :, None]  # [BLOCK_M, NUM_BINS, BLOCK_N]
    histogram = tl.sum(tl.where(reached, weights[:, None, :], 0.0), axis=2)
    offs_block = (offs_m * tl.num_programs(0) + tl.program_id(0))[:, None]
    tl.store(histogram_ptr + offs_block * NUM_BINS + bins, histogram)


@triton.jit
def _refine(
    # pointers
    histogram_ptr,
    threshold_ptr,
    target_ptr,
    block_sums_ptr,
    # sizes
    batch,
    num_blocks,
    # meta
    fraction,
    shift,
    NUM_BINS: tl.constexpr,
    IS_FIRST_PASS: tl.constexpr,
    PADDED_BLOCKS: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """Raise each row's threshold to the last bin that ``target`` reaches; ``block_sums`` is what reaches it, by block.

    In the first pass of a selection by weight ``target`` is set to this ``fraction`` of the whole.
    """
    offs_m = _row_offsets(tl.program_id(0), batch, BLOCK_M)
    bins = tl.arange(0, NUM_BINS)[None, None, :]
    offs = offs_m[:, None] * num_blocks + tl.arange(0, PADDED_BLOCKS)[None, :]
    block_mask = tl.arange(0, PADDED_BLOCKS)[None, :] < num_blocks
    # [BLOCK_M, PADDED_BLOCKS, NUM_BINS]
    by_block = tl.load(histogram_ptr + offs[:, :, None] * NUM_BINS + bins, mask=block_mask[:, :, None], other=0.0)
    histogram = tl.sum(by_block, axis=1)  # [BLOCK_M, NUM_BINS]
    if IS_FIRST_PASS:
        target = fraction * tl.max(histogram, axis=1)
        tl.store(target_ptr + offs_m, target)
    else:
        target = tl.load(target_ptr + offs_m)
    last_bin = tl.max(tl.where(histogram >= target[:, None], tl.arange(0, NUM_BINS)[None, :], 0), axis=1)
    # Updated in place, so only once a row: where the last row is repeated it would be raised twice.
    once = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M) < batch
    tl.store(threshold_ptr + offs_m, tl.load(threshold_ptr + offs_m) + (last_bin << shift), mask=once)
    block_sums = tl.sum(tl.where(bins == last_bin[:, None, None], by_block, 0.0), axis=2)
    tl.store(block_sums_ptr + offs, block_sums, mask=block_mask)


@triton.jit
def _uniform(seeds, positions):
    """24 bits of Philox by seed (key) and position (counter), float32 in [0, 1)."""
    counter = positions.to(tl.uint32)
    word, _, _, _ = tl.philox(seeds, counter, counter * 0, counter * 0, counter * 0)
    return (word >> 8).to(tl.float32) * 5.9604644775390625e-08


@triton.jit
def _inverse_cdf(weights, target, SIZE: tl.constexpr):
    """The last index [BLOCK_M] of weights[BLOCK_M, SIZE] whose exclusive sum is at most ``target``; also these sums."""
    exclusive_sum = tl.cumsum(weights, axis=1) - weights
    candidates = (weights > 0) & (exclusive_sum <= target[:, None])
    return tl.max(tl.where(candidates, tl.arange(0, SIZE)[None, :], 0), axis=1), exclusive_sum


@triton.jit
def _draw(
    # pointers
    logits_ptr,
    block_max_ptr,
    threshold_ptr,
    block_sums_ptr,
    seeds_ptr,
    positions_ptr,
    out_ptr,
    # sizes
    batch,
    vocab_size,
    # strides
    stride_m,
    # meta
    num_blocks,
    temperature,
    BLOCK_N: tl.constexpr,
    PADDED_BLOCKS: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """A token of each row, from those that reach the row's threshold."""
    offs_m = _row_offsets(tl.program_id(0), batch, BLOCK_M)
    offs_b = tl.arange(0, PADDED_BLOCKS)[None, :]
    block_mask = offs_b < num_blocks
    # [BLOCK_M, PADDED_BLOCKS]
    block_sums = tl.load(block_sums_ptr + offs_m[:, None] * num_blocks + offs_b, mask=block_mask, other=0.0)
    uniform = _uniform(tl.load(seeds_ptr + offs_m), tl.load(positions_ptr + offs_m))
    target = uniform * tl.sum(block_sums, axis=1)
    block, exclusive_sum = _inverse_cdf(block_sums, target, PADDED_BLOCKS)
    target -= tl.sum(tl.where(offs_b == block[:, None], exclusive_sum, 0.0), axis=1)

    offs_n = block[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    x, mask = _load_logits(logits_ptr, offs_m, offs_n, vocab_size, stride_m)  # [BLOCK_M, BLOCK_N]
    row_max = _load_row_max(block_max_ptr, offs_m, num_blocks, PADDED_BLOCKS)
    weights = _softmax_weights(x, mask, row_max, tl.load(threshold_ptr + offs_m), temperature)
    index, _ = _inverse_cdf(weights, target, BLOCK_N)
    tl.store(out_ptr + offs_m, (block * BLOCK_N + index).to(tl.int64))
