"""``sample``: one token a row, drawn from its logits after temperature, top-k and top-p."""

from __future__ import annotations

import torch
from torch import Tensor

from braidcheck.kernels.common.configs import get_config
from braidcheck.kernels.common.grid import cdiv, next_power_of_2
from braidcheck.kernels.common.specs import FLOAT32_MAX, MIN_NORMAL, NumberSpec, TensorSpec
from braidcheck.kernels.common.validation import MAX_AXIS, MAX_GRID, MAX_VOCABULARY, Arguments
from braidcheck.kernels.sample.kernel import _block_max, _draw, _histogram, _refine

RADIX_BITS = 4  # of a threshold that one pass finds
SHIFTS = range(32 - RADIX_BITS, -1, -RADIX_BITS)
LOWEST_KEY = -(2**31)
UNREACHABLE = 2.0  # of the weight: as a target it leaves the threshold where it is


def sample(logits: Tensor, seeds: Tensor, positions: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """A token int64 [B] of each row of logits[B,V], drawn by the row's seed and position, both int64 [B].

    Probabilities are those of ``logits / temperature``. ``top_k`` keeps the tokens that fewer than k are better than (0
    keeps all), ``top_p`` then the fewest best that hold this part of what is left; equal logits are kept together. A
    NaN counts as the best. Raises ValueError for shapes, strides, devices or numbers it cannot serve.
    """
    ARGUMENTS.check(logits, seeds, positions, temperature, top_k, top_p)
    out = torch.empty(len(logits), dtype=torch.int64, device=logits.device)
    if len(logits):
        select = _RadixSelect(logits, temperature)
        min_key = select.kth_key(top_k) if 0 < top_k < logits.shape[1] else select.lowest_key()
        threshold = select.top_p_key(top_p, min_key)
        select.draw(threshold, seeds, positions, out)
    return out


ARGUMENTS = Arguments(
    {
        "logits": TensorSpec("B,V"),
        "seeds": TensorSpec("B", (torch.int64,)),
        "positions": TensorSpec("B", (torch.int64,)),
        "temperature": NumberSpec(MIN_NORMAL, FLOAT32_MAX),
        "top_k": NumberSpec(0, MAX_AXIS, whole=True),
        "top_p": NumberSpec(MIN_NORMAL, 1),
    },
    axes={"B": (0, MAX_GRID), "V": (1, MAX_VOCABULARY)},
)


class _RadixSelect:
    """The passes over logits[B,V] that find the least key of the tokens kept, and their weights by block."""

    def __init__(self, logits: Tensor, temperature: float) -> None:
        self.logits, self.temperature = logits, temperature
        self.batch, self.vocab_size = logits.shape
        config = get_config("sample")
        self.num_blocks = cdiv(self.vocab_size, config.block_n)
        self.num_row_blocks = cdiv(self.batch, config.block_m)
        # Triton 3.6 cannot always compile sums of fewer than four, nor ``_draw`` for aligned 16-bit logits and four.
        padded_blocks = max(8, next_power_of_2(self.num_blocks))
        self.rows_meta = {"PADDED_BLOCKS": padded_blocks, "BLOCK_M": config.block_m}
        self.meta = self.rows_meta | {"BLOCK_N": config.block_n}
        self.block_max = logits.new_empty(self.batch, self.num_blocks, dtype=torch.float32)
        self.block_sums = torch.empty_like(self.block_max)
        self.histogram = logits.new_empty(self.batch, self.num_blocks, 2**RADIX_BITS, dtype=torch.float32)
        _block_max[self.num_blocks, self.num_row_blocks](
            logits_ptr=logits,
            block_max_ptr=self.block_max,
            batch=self.batch,
            vocab_size=self.vocab_size,
            stride_m=logits.stride(0),
            BLOCK_N=config.block_n,
            BLOCK_M=config.block_m,
        )

    def lowest_key(self) -> Tensor:
        """The key int32 [B] that all tokens reach."""
        return self.logits.new_full((self.batch,), LOWEST_KEY, dtype=torch.int32)

    def kth_key(self, k: int) -> Tensor:
        """The largest key int32 [B] that ``k`` tokens reach."""
        threshold = self.lowest_key()
        target = self.logits.new_full((self.batch,), k, dtype=torch.float32)
        for shift in SHIFTS:
            self._run_pass(threshold, threshold, target, shift)
        return threshold

    def top_p_key(self, top_p: float, min_key: Tensor) -> Tensor:
        """The largest key int32 [B] that ``top_p`` of the weight of tokens from ``min_key`` on reaches.

        Sets ``block_sums`` to the weights of the tokens that reach it.
        """
        threshold, target = self.lowest_key(), self.block_max.new_empty(self.batch)
        if top_p == 1:  # the threshold stays the lowest key, block_sums are those of all
            self._run_pass(threshold, min_key, target, SHIFTS[0], fraction=UNREACHABLE)
            return min_key
        for shift in SHIFTS:
            self._run_pass(threshold, min_key, target, shift, top_p)
        return threshold

    def _run_pass(self, threshold: Tensor, min_key: Tensor, target: Tensor, shift: int, fraction: float = 0.0) -> None:
        """One pass: RADIX_BITS more of ``threshold``; by weight with a ``fraction`` of it as target, else by count."""
        _histogram[self.num_blocks, self.num_row_blocks](
            logits_ptr=self.logits,
            block_max_ptr=self.block_max,
            min_key_ptr=min_key,
            threshold_ptr=threshold,
            histogram_ptr=self.histogram,
            batch=self.batch,
            vocab_size=self.vocab_size,
            stride_m=self.logits.stride(0),
            temperature=self.temperature,
            shift=shift,
            NUM_BINS=2**RADIX_BITS,
            COUNT_TOKENS=not fraction,
            **self.meta,
        )
        _refine[(self.num_row_blocks,)](
            histogram_ptr=self.histogram,
            threshold_ptr=threshold,
            target_ptr=target,
            block_sums_ptr=self.block_sums,
            batch=self.batch,
            num_blocks=self.num_blocks,
            fraction=fraction,
            shift=shift,
            NUM_BINS=2**RADIX_BITS,
            IS_FIRST_PASS=bool(fraction) and shift == SHIFTS[0],
            **self.rows_meta,
        )

    def draw(self, threshold: Tensor, seeds: Tensor, positions: Tensor, out: Tensor) -> None:
        """Write a token int64 [B] of those that reach ``threshold`` to ``out``, by ``block_sums``."""
        _draw[(self.num_row_blocks,)](
            logits_ptr=self.logits,
            block_max_ptr=self.block_max,
            threshold_ptr=threshold,
            block_sums_ptr=self.block_sums,
            seeds_ptr=seeds,
            positions_ptr=positions,
            out_ptr=out,
            batch=self.batch,
            vocab_size=self.vocab_size,
            stride_m=self.logits.stride(0),
            num_blocks=self.num_blocks,
            temperature=self.temperature,
            **self.meta,
        )
