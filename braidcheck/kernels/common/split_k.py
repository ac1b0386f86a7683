"""Split K: a product of few outputs and long sums, whose parts of K go to programs of their own.

It is for fewer tiles than multiprocessors: 2**18 outputs are 64 tiles of 64 x 64. A sum of 1024 terms is over before a
second kernel, which sums the parts, would begin.
"""

from __future__ import annotations

from torch import Tensor

from braidcheck.kernels.common import persistent_gemm, sliced_k
from braidcheck.kernels.common.configs import has_config
from braidcheck.kernels.common.kernel_config import Regime

MAX_OUTPUTS = 2**18
MIN_K, MAX_K = 1025, 8192


def supports_split_k(op: str, x: Tensor, weight: Tensor) -> bool:
    """Whether the op has such kernels and they take ``x @ weight.T``, x[M,K], through TMA; fewer rows are for
    ``sliced_k``."""
    m, k = x.shape
    return (
        m * len(weight) <= MAX_OUTPUTS
        and MIN_K <= k <= MAX_K
        and m > sliced_k.MAX_M
        and has_config(op, Regime.SPLIT_K)
        and persistent_gemm.can_use_tma(weight)
    )
