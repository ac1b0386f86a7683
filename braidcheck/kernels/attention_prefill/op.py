"""The declaration of ``attention_prefill``."""

from __future__ import annotations

from braidcheck.kernels.attention_prefill import attention_prefill, baselines, cases, checks, oracle
from braidcheck.kernels.attention_prefill.variants import VARIANTS
from braidcheck.kernels.common.inputs import HEADS
from braidcheck.op import Contract, Op

OP = Op(
    call=attention_prefill,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(outputs={"out": "q"}, casts=("P to v's dtype",)),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes={f"{tokens} tokens": {"T": tokens, **HEADS} for tokens in (512, 4096, 16384)},
    eager_baseline=baselines.eager,
    library_baselines=baselines.libraries,
    contract_checks=checks.CONTRACT_CHECKS,
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
    further_outputs={"lse": oracle.log_sum_exp},
)
