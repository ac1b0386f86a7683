"""The declaration of ``cache_write``."""

from __future__ import annotations

from braidcheck.kernels.cache_write import cache_write, cases, checks, oracle
from braidcheck.kernels.cache_write.variants import VARIANTS
from braidcheck.kernels.common.baselines import eager_cache_write
from braidcheck.kernels.common.inputs import KV_HEADS
from braidcheck.op import Contract, Op

OP = Op(
    call=cache_write,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs={"k_cache": "k_cache", "v_cache": "v_cache"}, batch_invariant=True, mutates=("k_cache", "v_cache")
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes={
        "1 token": {"T": 1, "B": 1, "S": 64, **KV_HEADS},
        "16 tokens": {"T": 16, "B": 16, "S": 64, **KV_HEADS},
        "512 tokens": {"T": 512, "B": 1, "S": 512, **KV_HEADS},
        "4096 tokens": {"T": 4096, "B": 1, "S": 4096, **KV_HEADS},
    },
    eager_baseline=eager_cache_write,
    contract_checks=checks.CONTRACT_CHECKS,
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
)
