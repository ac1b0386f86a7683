"""The machine's limits, bandwidth and GEMM peak, measured in the same session as the timings."""

from __future__ import annotations

from typing import TypedDict

import torch
import triton
import triton.language as tl

from braidcheck.benchmarks.events import gpu_seconds

SIZE = 2**31  # bytes, far beyond any cache
SIDE = 8192  # rows and columns of the matrices


class Limits(TypedDict):
    """Bytes per second of copies and of reads; floating-point operations per second of bfloat16 products."""

    copy: float
    read: float
    matrix: float


def measure_limits(device: str = "cuda") -> Limits:
    """All of this machine's limits."""
    return {"copy": copy_bandwidth(device), "read": read_bandwidth(device), "matrix": gemm_peak(device)}


def copy_bandwidth(device: str = "cuda", size: int = SIZE, count: int = 5) -> float:
    """Bytes per second of a large device-to-device copy, counting both reads and writes."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    (timing,) = gpu_seconds(lambda: target.copy_(source), count=count)
    return 2 * size / timing.median


@triton.jit
def _read(source_ptr, total_ptr, PER_PROGRAM: tl.constexpr, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * PER_PROGRAM
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for offset in range(0, PER_PROGRAM, BLOCK):
        total += tl.load(source_ptr + start + offset + tl.arange(0, BLOCK))
    tl.store(total_ptr + tl.program_id(0), tl.sum(total, axis=0))


def read_bandwidth(device: str = "cuda", size: int = SIZE, count: int = 5) -> float:
    """Bytes per second of reading a large array once, with almost no writes."""
    per_program, block = 2**15, 2**12
    source = torch.zeros(size // 4, dtype=torch.float32, device=device)
    total = torch.empty(source.numel() // per_program, dtype=torch.float32, device=device)

    def read() -> None:
        _read[(total.numel(),)](source, total, PER_PROGRAM=per_program, BLOCK=block, num_warps=8)

    (timing,) = gpu_seconds(read, count=count, warmup=2)
    return size / timing.median


def gemm_peak(device: str = "cuda", side: int = SIDE, count: int = 10) -> float:
    """Floating-point operations per second of a large bfloat16 matrix product."""
    a, b = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    out = torch.empty_like(a)
    (timing,) = gpu_seconds(lambda: torch.matmul(a, b, out=out), count=count, warmup=3)
    return 2 * side**3 / timing.median
