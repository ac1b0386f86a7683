"""Kernel dispatch for projections x @ weight.T, shared by all ops with several kernels."""

from __future__ import annotations

from torch import Tensor

from braidcheck.kernels.common import gemv, persistent_gemm, sliced_k, split_k
from braidcheck.kernels.common.kernel_config import Regime


def gemm_regime(
    op: str,
    x: Tensor,
    weight: Tensor,
    *others: Tensor,
    float32: bool = False,
    max_sliced_k: int = sliced_k.MAX_K_WITH_NORM,
) -> Regime:
    """GEMV, SMALL_M, SPLIT_K, PERSISTENT or TILED, which takes anything; x[M,K], and ``others`` are what else TMA would
    read or write, in ``float32`` too if that is accepted."""
    if gemv.supports_gemv(x, weight):
        return Regime.GEMV
    if sliced_k.supports_sliced_k(op, x, weight, max_sliced_k):
        return Regime.SMALL_M
    if split_k.supports_split_k(op, x, weight):
        return Regime.SPLIT_K
    if persistent_gemm.supports_persistent_gemm(op, x, weight, *others, float32=float32):
        return Regime.PERSISTENT
    return Regime.TILED
