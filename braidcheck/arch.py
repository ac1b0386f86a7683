"""GPU classes, one row each: names, features and the resources of one multiprocessor (standard library only).

Sources: CUDA C++ Programming Guide, "Compute Capabilities"; AMD's CDNA3 instruction set architecture guide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

KIB = 1024


@dataclass(frozen=True)
class Arch:
    """One GPU class. AMD's compute unit is a multiprocessor, its wave a warp, its work group a CTA.

    ``has_tma`` and ``has_pdl`` say what the hardware can do; kernels do it only where launch configs were tuned for the
    class (``kernels/common/tuned_configs.py``). ``shared_memory_bytes`` is the maximum per CTA,
    ``shared_memory_per_sm_bytes`` the total of one multiprocessor and ``reserved_shared_memory_bytes`` the driver's own
    share per CTA. ``registers_per_sm`` counts 32-bit registers; warps are allocated multiples of ``register_granule``.
    """

    name: str
    backend: str  # Triton's: "cuda", "hip"; "interpreter" and "" name no compiler
    triton_arch: int | str = 0
    has_tma: bool = False
    has_pdl: bool = False
    warp_size: int = 32
    shared_memory_bytes: int = 0
    shared_memory_per_sm_bytes: int = 0
    reserved_shared_memory_bytes: int = 0
    registers_per_sm: int = 0
    register_granule: int = 1
    max_warps_per_sm: int = 0
    max_ctas_per_sm: int = 0

    @property
    def capability(self) -> tuple[int, int]:
        """The CUDA compute capability; (0, 0) for other hardware than NVIDIA's."""
        return divmod(self.triton_arch, 10) if isinstance(self.triton_arch, int) else (0, 0)

    def occupancy(self, kernel: Mapping[str, Any]) -> int:
        """Warps resident on one multiprocessor; 0 where no CTA fits.

        ``kernel`` gives "warps" a CTA, "registers" a thread and "shared" memory in bytes a CTA.
        """
        warps, shared = kernel["warps"], kernel["shared"]
        if shared > self.shared_memory_bytes:
            return 0
        registers = _round_up(max(1, kernel["registers"]) * self.warp_size, self.register_granule)
        ctas = [self.registers_per_sm // registers // warps, self.max_ctas_per_sm, self.max_warps_per_sm // warps]
        if shared:
            ctas.append(self.shared_memory_per_sm_bytes // _round_up(shared + self.reserved_shared_memory_bytes, 128))
        return min(ctas) * warps


def _round_up(value: int, granule: int) -> int:
    return math.ceil(value / granule) * granule


_NVIDIA: Mapping[str, Any] = {
    "backend": "cuda",
    "reserved_shared_memory_bytes": KIB,
    "registers_per_sm": 65536,
    "register_granule": 256,
    "max_warps_per_sm": 64,
    "max_ctas_per_sm": 32,
}
_HOPPER: Mapping[str, Any] = {
    **_NVIDIA,
    "has_tma": True,
    "has_pdl": True,
    "shared_memory_bytes": 227 * KIB,
    "shared_memory_per_sm_bytes": 228 * KIB,
}
SM_80 = Arch("sm_80", triton_arch=80, shared_memory_bytes=163 * KIB, shared_memory_per_sm_bytes=164 * KIB, **_NVIDIA)
SM_90 = Arch("sm_90", triton_arch=90, **_HOPPER)
SM_100 = Arch("sm_100", triton_arch=100, **_HOPPER)
# Four SIMDs of 512 vector registers a lane, accumulators among them, and at most eight waves each.
GFX942 = Arch(
    "gfx942",
    backend="hip",
    triton_arch="gfx942",
    warp_size=64,
    shared_memory_bytes=64 * KIB,
    shared_memory_per_sm_bytes=64 * KIB,
    registers_per_sm=4 * 512 * 64,
    register_granule=8 * 64,
    max_warps_per_sm=32,
    max_ctas_per_sm=32,
)
GPUS = {arch.name: arch for arch in (SM_80, SM_90, SM_100, GFX942)}
INTERPRETER = Arch("interpreter", backend="interpreter", has_tma=True)  # its tensor descriptors are slices of numpy
GENERIC = Arch("generic", backend="")  # an unknown GPU


@cache
def of_capability(capability: tuple[int, int]) -> Arch:
    """The NVIDIA GPU class of this compute capability; ``GENERIC`` for one without a row, and for (0, 0)."""
    return next((arch for arch in GPUS.values() if arch.capability == capability != (0, 0)), GENERIC)
