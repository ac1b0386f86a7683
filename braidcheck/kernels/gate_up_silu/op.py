"""The declaration of ``gate_up_silu``."""

from __future__ import annotations

from braidcheck.kernels.common.inputs import HIDDEN, INNER, by_tokens
from braidcheck.kernels.gate_up_silu import baselines, cases, gate_up_silu, oracle
from braidcheck.kernels.gate_up_silu.variants import VARIANTS
from braidcheck.op import Contract, Op

OP = Op(
    call=gate_up_silu,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs={"out": "weight"},
        casts=(
            "with norm_weight: the normalised x to the weight's dtype",
            "gate, up and silu(gate) to the weight's dtype",
        ),
        result_casts={"matmul": "weight", "silu": "weight"},
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes=by_tokens(H=HIDDEN, I=INNER, norm=1),
    eager_baseline=baselines.eager,
    gemm_weight="weight",
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
)
