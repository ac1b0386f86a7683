"""The declaration of ``decode_attention``."""

from __future__ import annotations

from braidcheck.kernels.common.inputs import HEADS
from braidcheck.kernels.decode_attention import baselines, cases, checks, decode_attention, oracle
from braidcheck.kernels.decode_attention.variants import COMPOSITIONS, VARIANTS
from braidcheck.op import Contract, Op

OP = Op(
    call=decode_attention,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs={"out": "k_cache", "k_cache": "k_cache", "v_cache": "v_cache"},
        casts=("q after RoPE to the cache's dtype", "P to v's dtype"),
        batch_invariant=5,  # up to 4 may be split into more parts
        mutates=("k_cache", "v_cache"),
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes={  # wide: Q, K and V come as float32
        "1 row of 128": {"B": 1, "S": 128, **HEADS, "wide": 1},
        "1 row of 2048": {"B": 1, "S": 2048, **HEADS, "wide": 1},
        "1 row of 32768": {"B": 1, "S": 32768, **HEADS, "wide": 1},
        "16 rows of 2048": {"B": 16, "S": 2048, **HEADS, "wide": 1},
    },
    eager_baseline=baselines.eager,
    contract_checks=checks.CONTRACT_CHECKS,
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
    compositions=COMPOSITIONS,
)
