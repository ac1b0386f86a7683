"""The GPUs that kernels are compiled for, and how much of one a program takes (standard library only)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """One architecture: what Triton calls it, and the limits of one multiprocessor (AMD: compute unit).

    ``shared`` is the most bytes of shared memory that one program may have, ``shared_total`` what all programs on a
    multiprocessor share, ``reserved`` what the system takes for each; ``registers`` 32-bit registers, handed to a
    warp in multiples of ``granule``; ``warps`` and ``programs`` the most that are resident at a time.
    Sources: CUDA C++ Programming Guide, "Compute Capabilities"; AMD's CDNA3 instruction set architecture guide.
    """

    name: str
    backend: str
    arch: int | str
    warp_size: int
    shared: int
    shared_total: int
    reserved: int
    registers: int
    granule: int
    warps: int
    programs: int

    @property
    def capability(self) -> tuple[int, int]:
        """The compute capability by which kernels are cut for this GPU; (0, 0) for one that is not NVIDIA's."""
        return (self.arch // 10, self.arch % 10) if isinstance(self.arch, int) else (0, 0)

    def occupancy(self, seen: Mapping[str, Any]) -> int:
        """Warps resident on one multiprocessor when a kernel takes what ``seen`` says; 0 where not even one fits."""
        each = seen["warps"]
        by_registers = self.registers // _up(max(1, seen["registers"]) * self.warp_size, self.granule) // each
        by_shared = self.shared_total // _up(seen["shared"] + self.reserved, 128) if seen["shared"] else self.programs
        programs = min(by_registers, by_shared, self.programs, self.warps // each)
        return programs * each if seen["shared"] <= self.shared else 0


def _up(value: int, granule: int) -> int:
    return math.ceil(value / granule) * granule


KIB = 1024
TARGETS = {
    target.name: target
    for target in (
        Target("sm_80", "cuda", 80, 32, 163 * KIB, 164 * KIB, KIB, 65536, 256, 64, 32),
        Target("sm_90", "cuda", 90, 32, 227 * KIB, 228 * KIB, KIB, 65536, 256, 64, 32),
        Target("sm_100", "cuda", 100, 32, 227 * KIB, 228 * KIB, KIB, 65536, 256, 64, 32),
        # Four SIMDs of 512 vector registers a lane, accumulators among them, and at most eight waves each.
        Target("gfx942", "hip", "gfx942", 64, 64 * KIB, 64 * KIB, 0, 4 * 512 * 64, 8 * 64, 32, 32),
    )
}
