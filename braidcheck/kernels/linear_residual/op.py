"""The declaration of ``linear_residual``."""

from __future__ import annotations

from braidcheck.kernels.common.inputs import HIDDEN, INNER, by_tokens
from braidcheck.kernels.linear_residual import baselines, cases, linear_residual, oracle
from braidcheck.kernels.linear_residual.variants import VARIANTS
from braidcheck.op import Contract, Op

OP = Op(
    call=linear_residual,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(outputs={"out": "residual"}, casts=("the product to x's dtype",), result_casts={"matmul": "x"}),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes=by_tokens(K=INNER, H=HIDDEN),
    eager_baseline=baselines.eager,
    gemm_weight="weight",
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
    not_in_float16=("product rounded", "library"),
)
