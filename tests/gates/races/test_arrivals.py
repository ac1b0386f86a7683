"""Programs that store a part and count themselves, with a barrier between or without; the last one sums the parts."""

import pytest
import torch
import triton
import triton.language as tl

from braidcheck.gates.races import sleep
from braidcheck.gates.races.ordering import races
from braidcheck.gates.races.recording import recorded
from braidcheck.kernels.common.interpreter import INTERPRETED

PROGRAMS, BLOCK = 16, 1024


@triton.jit
def _sum_parts(
    seed_ptr,
    parts_ptr,
    counter_ptr,
    out_ptr,
    BLOCK: tl.constexpr,
    BARRIER: tl.constexpr,
    SLEEP: tl.constexpr,
):
    program = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    if SLEEP:
        sleep.sleep(tl.load(seed_ptr), 0)
    tl.store(parts_ptr + program * BLOCK + offsets, program + offsets)
    if BARRIER:
        tl.debug_barrier()
    if tl.atomic_add(counter_ptr, 1, sem="acq_rel") == tl.num_programs(0) - 1:
        total = tl.zeros([BLOCK], dtype=tl.int32)
        for other in range(tl.num_programs(0)):
            total += tl.load(parts_ptr + other * BLOCK + offsets, cache_modifier=".cg")
        tl.store(out_ptr + offsets, total)


def summed(device, barrier, seed=0):
    """The sum and, on a GPU, the compiled kernel."""
    parts = torch.full((PROGRAMS, BLOCK), -1, dtype=torch.int32, device=device)
    counter, out = torch.zeros(1, dtype=torch.int32, device=device), torch.empty_like(parts[0])
    seeds = torch.full((1,), seed, dtype=torch.int32, device=device)
    options = {"BLOCK": BLOCK, "BARRIER": barrier, "SLEEP": not INTERPRETED}
    return out, _sum_parts[(PROGRAMS,)](seeds, parts, counter, out, **options)


@pytest.mark.parametrize(("barrier", "said"), [(True, []), (False, ["no barrier between the store and the atomic"])])
def test_a_recording_shows_a_missing_barrier(barrier, said):
    with recorded() as launches:
        summed("cpu", barrier)
    assert sorted({race.missing for race in races(launches[-1])}) == said


@pytest.mark.gpu
@pytest.mark.parametrize("barrier", [True, False])
def test_delays_show_a_missing_barrier(barrier):
    ptx = summed("cuda", barrier)[1].asm["ptx"]
    if not barrier and "bar.sync" in ptx[: ptx.index("atom.global")]:
        pytest.skip("this version of Triton puts a barrier before an atomic that releases")
    expected = torch.arange(BLOCK, dtype=torch.int32) * PROGRAMS + sum(range(PROGRAMS))
    wrong = [seed for seed in range(1, 201) if not torch.equal(summed("cuda", barrier, seed)[0].cpu(), expected)]
    assert bool(wrong) != barrier
