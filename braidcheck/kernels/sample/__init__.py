"""One token a row, drawn from its logits after temperature, top-k and top-p, with noise from the row's own seed.

No sort: the logit from which on tokens are kept is the largest that as many tokens (top-k), or as much probability
(top-p), reach; it is found four bits at a time. Equal logits are kept or dropped together. The token is where the
probabilities kept, added in the order of the vocabulary, pass a uniform number: of Philox, by seed and position, so a
row is drawn alike whatever its neighbours are.

Bound: what top-k drops has no share that could pass. A probability's weight e^z is off by u32*(8|z| + 8): difference,
quotient, product with log2(e) and the exponential. Sums of weights are off by their terms and a float32 sum's error.
Top-p may so keep or drop what lies that near its edge, and the token drawn may be another one whose part of the sum
lies that near the uniform number. A token's share is its distance from either, next to these errors.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from braidcheck.kernels.common.inputs import Numbers, without, without_last
from braidcheck.kernels.common.interpreter import INTERPRETED
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.numerics import rounding
from braidcheck.numerics.sampling import better, kept, uniform
from braidcheck.op import Case, Contract, Cost, Op

BLOCK, ROWS = (1024, 16) if INTERPRETED else (2048, 1)  # tokens and rows of one program
BITS = 4  # of a threshold that are found in one pass
SHIFTS = range(32 - BITS, -1, -BITS)
LOWEST = -(2**31)  # the key below all others


@triton.jit
def _rows(number, batch, ROWS: tl.constexpr):
    """The rows of a program; past the last one it is the last again, worked on and written alike."""
    return tl.minimum(number * ROWS + tl.arange(0, ROWS), batch - 1).to(tl.int64)


@triton.jit
def _read(logits_ptr, rows, tokens, vocab, stride):
    """Logits [ROWS, BLOCK] in float32: NaN counts as the largest, there is one zero, none is past the vocabulary."""
    there = tokens < vocab
    x = tl.load(logits_ptr + rows[:, None] * stride + tokens, mask=there, other=float("-inf")).to(tl.float32)
    return tl.where(x == x, x + 0.0, float("inf")), there


@triton.jit
def _keys(x):
    """Integers in the order of the float32 x."""
    bits = x.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def _weights(x, there, top, least, temperature):
    """exp((x - top) / temperature) of tokens whose key reaches ``least``, 0 of all others."""
    weights = tl.where(x == top[:, None], 1.0, tl.exp((x - top[:, None]) / temperature))
    return tl.where(there & (_keys(x) >= least[:, None]), weights, 0.0)


@triton.jit
def _row_tops(tops_ptr, rows, num_blocks, BLOCKS: tl.constexpr):
    """The largest logit of each row, from those of its blocks."""
    blocks = tl.arange(0, BLOCKS)[None, :]
    tops = tops_ptr + rows[:, None] * num_blocks + blocks
    return tl.max(tl.load(tops, mask=blocks < num_blocks, other=float("-inf")), axis=1)


@triton.jit
def _tops(logits_ptr, tops_ptr, batch, vocab, stride, BLOCK: tl.constexpr, ROWS: tl.constexpr):
    rows = _rows(tl.program_id(1), batch, ROWS)
    tokens = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[None, :]
    x, _ = _read(logits_ptr, rows, tokens, vocab, stride)
    tl.store(tops_ptr + rows * tl.num_programs(0) + tl.program_id(0), tl.max(x, axis=1))


@triton.jit
def _above(
    logits_ptr, tops_ptr, least_ptr, floor_ptr, sums_ptr, batch, vocab, stride, temperature, shift,
    STEPS: tl.constexpr, COUNT: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Of one block, how many tokens or how much weight reaches each of STEPS keys from the row's floor on."""
    rows = _rows(tl.program_id(1), batch, ROWS)
    tokens = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[None, :]
    x, there = _read(logits_ptr, rows, tokens, vocab, stride)
    if COUNT:
        weights = tl.full(x.shape, 1.0, dtype=tl.float32)  # what is past the vocabulary is below all keys that matter
    else:
        top = _row_tops(tops_ptr, rows, tl.num_programs(0), BLOCKS)
        weights = _weights(x, there, top, tl.load(least_ptr + rows), temperature)
    steps = tl.arange(0, STEPS)[None, :]
    floors = tl.load(floor_ptr + rows)[:, None] + (steps << shift)
    reached = _keys(x)[:, None, :] >= floors[:, :, None]
    sums = tl.sum(tl.where(reached, weights[:, None, :], 0.0), axis=2)
    tl.store(sums_ptr + (rows * tl.num_programs(0) + tl.program_id(0))[:, None] * STEPS + steps, sums)


@triton.jit
def _raise(
    sums_ptr, floor_ptr, wanted_ptr, masses_ptr, batch, num_blocks, part, shift, STEPS: tl.constexpr,
    FIRST: tl.constexpr, BLOCKS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Raise each row's floor to the last key that ``wanted`` of it reach; what does, by block, are its masses.

    With FIRST, ``wanted`` is set to this ``part`` of the whole.
    """
    rows = _rows(tl.program_id(0), batch, ROWS)
    steps = tl.arange(0, STEPS)[None, None, :]
    places = rows[:, None] * num_blocks + tl.arange(0, BLOCKS)[None, :]
    there = tl.arange(0, BLOCKS)[None, :] < num_blocks
    by_block = tl.load(sums_ptr + places[:, :, None] * STEPS + steps, mask=there[:, :, None], other=0.0)
    sums = tl.sum(by_block, axis=1)
    if FIRST:
        wanted = part * tl.max(sums, axis=1)
        tl.store(wanted_ptr + rows, wanted)
    else:
        wanted = tl.load(wanted_ptr + rows)
    step = tl.max(tl.where(sums >= wanted[:, None], tl.arange(0, STEPS)[None, :], 0), axis=1)
    tl.store(floor_ptr + rows, tl.load(floor_ptr + rows) + (step << shift))
    masses = tl.sum(tl.where(steps == step[:, None, None], by_block, 0.0), axis=2)
    tl.store(masses_ptr + places, masses, mask=there)


@triton.jit
def _uniform(seeds, positions):
    """24 bits of Philox by seed (key) and position (counter), float32 in [0, 1)."""
    counter = positions.to(tl.uint32)
    word, _, _, _ = tl.philox(seeds, counter, counter * 0, counter * 0, counter * 0)
    return (word >> 8).to(tl.float32) * 5.9604644775390625e-08


@triton.jit
def _begun(weights, target, SIZE: tl.constexpr):
    """The last number [ROWS] before whose part of the sum of weights[ROWS, SIZE] lies no more than ``target``.

    Also what lies before each part.
    """
    before = tl.cumsum(weights, axis=1) - weights
    begun = (weights > 0) & (before <= target[:, None])
    return tl.max(tl.where(begun, tl.arange(0, SIZE)[None, :], 0), axis=1), before


@triton.jit
def _draw(
    logits_ptr, tops_ptr, floor_ptr, masses_ptr, seeds_ptr, positions_ptr, out_ptr, batch, vocab, stride, num_blocks,
    temperature, BLOCK: tl.constexpr, BLOCKS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    rows = _rows(tl.program_id(0), batch, ROWS)
    blocks = tl.arange(0, BLOCKS)[None, :]
    masses = tl.load(masses_ptr + rows[:, None] * num_blocks + blocks, mask=blocks < num_blocks, other=0.0)
    target = _uniform(tl.load(seeds_ptr + rows), tl.load(positions_ptr + rows)) * tl.sum(masses, axis=1)
    block, before = _begun(masses, target, BLOCKS)
    target -= tl.sum(tl.where(blocks == block[:, None], before, 0.0), axis=1)

    tokens = block[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    x, there = _read(logits_ptr, rows, tokens, vocab, stride)
    top = _row_tops(tops_ptr, rows, num_blocks, BLOCKS)
    number, _ = _begun(_weights(x, there, top, tl.load(floor_ptr + rows), temperature), target, BLOCK)
    tl.store(out_ptr + rows, (block * BLOCK + number).to(tl.int64))


def sample(logits: Tensor, seeds: Tensor, positions: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """A token int64 [B] of each row of logits[B,V], drawn by the row's seed and position, both int64 [B].

    Probabilities are those of ``logits / temperature``. ``top_k`` keeps the tokens that fewer than k are better than (0
    keeps all), ``top_p`` then the fewest best that hold this part of what is left; equal logits are kept together. A
    NaN counts as the best. Raises ValueError for shapes, strides, devices or numbers it cannot serve.
    """
    require(logits.dim() == 2 and logits.shape[1] > 0, f"logits must be [B,V], are {tuple(logits.shape)}")
    require(logits.is_floating_point(), f"logits must be floating point, are {logits.dtype}")
    for name, numbers in (("seeds", seeds), ("positions", positions)):
        given = numbers.shape == logits.shape[:1] and numbers.dtype == torch.int64
        require(given, f"{name} must be int64 [{len(logits)}], are {numbers.dtype} {tuple(numbers.shape)}")
    require(temperature > 0, f"temperature must be above 0, is {temperature}")
    require(top_k >= 0, f"top_k must be 0 or more, is {top_k}")
    require(0 < top_p <= 1, f"top_p must be above 0 and at most 1, is {top_p}")
    require_contiguous_last_dim(logits=logits, seeds=seeds, positions=positions)
    require_same_device(logits=logits, seeds=seeds, positions=positions)
    batch, vocab = logits.shape
    out = torch.empty(batch, dtype=torch.int64, device=logits.device)
    if batch:
        search = _Search(logits, temperature)
        least = search.of_count(top_k) if 0 < top_k < vocab else search.lowest()
        floor = search.of_weight(top_p, least)
        _draw[(search.row_blocks,)](
            logits, search.tops, floor, search.masses, seeds, positions, out, batch, vocab, logits.stride(0),
            search.num_blocks, temperature, **search.sizes,
        )  # fmt: skip
    return out


class _Search:
    """The passes over logits[B,V] that find the least key of the tokens kept, and what these weigh by block."""

    def __init__(self, logits: Tensor, temperature: float) -> None:
        self.logits, self.temperature = logits, temperature
        batch, vocab = logits.shape
        self.num_blocks, self.row_blocks = triton.cdiv(vocab, BLOCK), triton.cdiv(batch, ROWS)
        blocks = max(4, triton.next_power_of_2(self.num_blocks))  # fewer sums Triton 3.6 cannot always compile
        self.sizes = {"BLOCK": BLOCK, "BLOCKS": blocks, "ROWS": ROWS}
        self.tops, self.masses = (logits.new_empty(batch, self.num_blocks, dtype=torch.float32) for _ in range(2))
        self.sums = logits.new_empty(batch, self.num_blocks, 2**BITS, dtype=torch.float32)
        grid = self.num_blocks, self.row_blocks
        _tops[grid](logits, self.tops, *logits.shape, logits.stride(0), BLOCK=BLOCK, ROWS=ROWS)

    def lowest(self) -> Tensor:
        """The key int32 [B] that all tokens reach."""
        return self.logits.new_full(self.logits.shape[:1], LOWEST, dtype=torch.int32)

    def of_count(self, count: int) -> Tensor:
        """The largest key int32 [B] that ``count`` tokens reach."""
        floor = self.lowest()
        wanted = self.logits.new_full(floor.shape, count, dtype=torch.float32)
        for shift in SHIFTS:
            self._raise(floor, floor, wanted, shift)
        return floor

    def of_weight(self, part: float, least: Tensor) -> Tensor:
        """The largest key int32 [B] that ``part`` of the weight of tokens from ``least`` on reaches; sets masses."""
        floor, wanted = self.lowest(), self.tops.new_empty(len(least))
        if part == 1:  # twice the weight is never reached, so that one pass gives the masses of all
            self._raise(floor, least, wanted, SHIFTS[0], part=2.0)
            return least
        for shift in SHIFTS:
            self._raise(floor, least, wanted, shift, part)
        return floor

    def _raise(self, floor: Tensor, least: Tensor, wanted: Tensor, shift: int, part: float = 0.0) -> None:
        """One pass: BITS more of ``floor``, by weight if it is a ``part`` of that which is wanted, else by count."""
        _above[self.num_blocks, self.row_blocks](
            self.logits, self.tops, least, floor, self.sums, *self.logits.shape, self.logits.stride(0),
            self.temperature, shift, STEPS=2**BITS, COUNT=not part, **self.sizes,
        )  # fmt: skip
        _raise[(self.row_blocks,)](
            self.sums, floor, wanted, self.masses, len(floor), self.num_blocks, part, shift, STEPS=2**BITS,
            FIRST=bool(part) and shift == SHIFTS[0], BLOCKS=self.sizes["BLOCKS"], ROWS=ROWS,
        )  # fmt: skip


def reference(logits, seeds, positions, temperature, top_k, top_p):
    """Sort, filter, and the first token at which the sum of probabilities passes the uniform number."""
    ends = kept(rounding.wide(logits), temperature, top_k, top_p).cumsum(-1)
    target = uniform(seeds, positions).to(ends.dtype)[:, None] * ends[:, -1:]
    return (ends <= target).sum(-1).clamp_max(ends.shape[1] - 1)


def bound(logits, seeds, positions, temperature, top_k, top_p):
    """The share [B,V] that each token would use; see the module's derivation."""
    if not len(logits):
        return (logits.double(),)
    x = logits.double()
    z = (x - x.amax(-1, keepdim=True)) / temperature
    after_k = kept(x, temperature, top_k, 1.0)
    wrong = after_k * rounding.U32 * (8 * z.abs() + 8)  # of each weight
    sums = rounding.sum_error(x.shape[1])
    error = wrong.nansum(-1, keepdim=True) + sums
    over = (better(x, after_k) - top_p) / error if top_p < 1 else torch.full_like(x, -torch.inf)
    unsure = torch.where((over.abs() <= 1) & (after_k > 0), after_k, 0.0).sum(-1, keepdim=True)
    weights = kept(x, temperature, top_k, top_p)
    ends = weights.cumsum(-1)
    target = uniform(seeds, positions)[:, None] * ends[:, -1:]
    beside = torch.maximum(ends - weights - target, target - ends) / (2 * error + unsure)
    share = torch.maximum(over, beside).clamp_min(0.0)
    return (share.masked_fill(after_k == 0, torch.inf),)


def inputs(case: Case, device: str) -> dict:
    """Logits with zeros of both signs among equal ones, seeds of 62 bits; a last token that is often drawn."""
    numbers = Numbers(case, device)
    batch, vocab = case["T"], case["V"]
    logits = numbers.activations(batch, vocab)
    signs = torch.rand(batch, vocab, generator=numbers.generator) < 0.5
    logits = torch.where(numbers.place(signs, torch.bool), -logits, logits)
    if case.profile == "tail":
        logits[:, -1] = logits.amax(-1) + 1
    if case.profile == "extreme":
        logits = logits.flip(0)  # the last row is the one of large numbers
    if case.profile == "cancel":
        logits = 1 + 2**-21 * numbers.place(numbers.normal(batch, vocab))  # they differ in their last bits
    return {
        "logits": logits,
        "seeds": torch.randint(0, 2**62, (batch,), generator=numbers.generator).to(device),
        "positions": numbers.positions(batch, 40960),
        "temperature": case.get("t", 100) / 100,
        "top_k": case.get("k"),
        "top_p": case.get("p", 100) / 100,
    }


def cost(case: Case) -> Cost:
    """Logits read once and a token written: the passes that a search takes are its own affair."""
    return Cost(case["T"] * (case["V"] * getattr(torch, case.dtype).itemsize + 24), 0)


def _case(batch, vocab, profile="unit", dtype="float32", large=False, **filters):
    """``filters``: t and p, temperature and top-p in hundredths, and k."""
    return Case("sample", {"T": batch, "V": vocab} | filters, dtype, profile, large=large)


CASES = (
    _case(5, 700),
    _case(0, 700),
    _case(33, 300, t=60, k=20, p=95),
    _case(9, 2500, "qwen", t=150, k=50),
    _case(33, 331, "tail", "float16", t=70, p=80),
    _case(17, 2500, "tail", t=200, p=90),
    _case(33, 300, k=1),
    _case(33, 400, "sparse", k=30, t=1000),
    _case(33, 500, "qwen", "bfloat16", t=80, k=3, p=70),
    _case(9, 1100, "tiny", p=50),
    _case(5, 2500, "extreme", k=7, p=90),
    _case(33, 40, k=100, p=60),
    _case(17, 300, "cancel", k=20),
    _case(64, 151936, "qwen", t=60, k=20, p=95, large=True),
    _case(3, 151936, "tail", t=100, p=90, large=True),
    _case(1, 151936, "qwen", "bfloat16", t=60, k=20, p=95, large=True),
)

OP = Op(
    call=sample,
    reference=reference,
    inputs=inputs,
    cases=CASES,
    contract=Contract(outputs={"token": "int64"}, batch_invariant=True),
    bound=bound,
    cost=cost,
    spoilers={
        "without temperature": without("temperature", 1.0),
        "without top-k": without("top_k", 0),
        "one token more than top-k": lambda given: given | {"top_k": given["top_k"] and given["top_k"] + 1},
        "without top-p": without("top_p", 1.0),
        "one seed for all rows": lambda given: given | {"seeds": given["seeds"][:1].expand_as(given["seeds"])},
        "one position for all rows": lambda given: given | {"positions": torch.zeros_like(given["positions"])},
        "without the last token of the vocabulary": without_last("logits"),
    },
)
