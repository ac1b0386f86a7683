"""The declaration of ``fused_attention``."""

from __future__ import annotations

from braidcheck.kernels.common.inputs import HEADS, HIDDEN
from braidcheck.kernels.fused_attention import baselines, cases, checks, fused_attention, oracle
from braidcheck.kernels.fused_attention.variants import COMPOSITIONS, VARIANTS
from braidcheck.op import Contract, Op

OP = Op(
    call=fused_attention,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs={"out": "o_weight", "k_cache": "k_cache", "v_cache": "v_cache"},
        casts=(
            "the normalised row to the weight's dtype",
            "q, k, v to the weight's dtype; pre_rope: k before its norm, and again after RoPE",
            "P to v's dtype",
            "the heads' outputs to the weight's dtype",
        ),
        mutates=("k_cache", "v_cache"),
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes={
        "1 row of 2048": {"T": 1, "B": 1, "S": 2048, "H": HIDDEN, **HEADS},
        "16 rows of 2048": {"T": 16, "B": 16, "S": 2048, "H": HIDDEN, **HEADS},
        "512 tokens": {"T": 512, "B": 1, "S": 512, "H": HIDDEN, **HEADS},
        "4096 tokens": {"T": 4096, "B": 1, "S": 4096, "H": HIDDEN, **HEADS},
    },
    eager_baseline=baselines.eager,
    contract_checks=checks.CONTRACT_CHECKS,
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
    compositions=COMPOSITIONS,
)
