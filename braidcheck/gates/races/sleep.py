"""Device function of delayed kernels: some warps, chosen by a seed, sleep."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_SLEEP_NS = tl.constexpr(1 << 15)  # a power of two; the hardware sleeps up to twice as long
_seeds: dict[str, Tensor] = {}

# $1 is a number of its own for each seed, program and place, $2 the longest sleep less one. Mixed with the warp's
# number (Murmur3's finalizer) it says whether the warp sleeps, one in four does, and for how long.
SLEEP_PTX = tl.constexpr("""{
.reg .u32 mixed, rest;
.reg .pred chosen;
mov.u32 rest, %tid.x;
shr.u32 rest, rest, 5;
mad.lo.u32 mixed, rest, 0x9E3779B1, $1;
shr.u32 rest, mixed, 16;
xor.b32 mixed, mixed, rest;
mul.lo.u32 mixed, mixed, 0x85EBCA6B;
shr.u32 rest, mixed, 13;
xor.b32 mixed, mixed, rest;
mul.lo.u32 mixed, mixed, 0xC2B2AE35;
shr.u32 rest, mixed, 16;
xor.b32 mixed, mixed, rest;
and.b32 rest, mixed, 3;
setp.eq.u32 chosen, rest, 0;
shr.u32 rest, mixed, 2;
and.b32 rest, rest, $2;
@chosen nanosleep.u32 rest;
mov.u32 $0, mixed;
}""")


def set_seed(seed: int, device: str) -> None:
    """From now on, delayed kernels launched on ``device`` sleep by this seed; by 0 they do not."""
    seed_of(device).fill_(seed)


def seed_of(device: str) -> Tensor:
    """The seed int32 [1] on ``device``, which a graph reads at each replay."""
    if device not in _seeds:
        _seeds[device] = torch.zeros(1, dtype=torch.int32, device=device)
    return _seeds[device]


def seed() -> Tensor:
    """The first argument of every launch of a delayed kernel."""
    return seed_of("cuda")


@triton.jit
def sleep(seed, PLACE: tl.constexpr):
    """Delay some warps of this program at ``PLACE``, the number of a statement."""
    program = tl.program_id(0) + tl.program_id(1) * 4099 + tl.program_id(2) * 65537
    mixed = seed * 40503 + program * 7919 + PLACE * 104729
    longest = tl.where(seed == 0, 0, MAX_SLEEP_NS - 1)
    tl.inline_asm_elementwise(SLEEP_PTX, "=r,r,r", [mixed, longest], dtype=tl.int32, is_pure=False, pack=1)
