"""The declaration of ``attention_decode``."""

from __future__ import annotations

from braidcheck.kernels.attention_decode import attention_decode, baselines, cases, checks, oracle
from braidcheck.kernels.attention_decode.variants import VARIANTS
from braidcheck.kernels.common.baselines import eager_attention_decode
from braidcheck.kernels.common.inputs import HEADS
from braidcheck.op import Contract, Op

OP = Op(
    call=attention_decode,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(outputs={"out": "q"}, casts=("P to v's dtype",), batch_invariant=True),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes={
        "1 row of 2048": {"B": 1, "S": 2048, **HEADS},
        "16 rows of 2048": {"B": 16, "S": 2048, **HEADS},
        "1 row of 32768": {"B": 1, "S": 32768, **HEADS},
    },
    eager_baseline=eager_attention_decode,
    library_baselines=baselines.libraries,
    contract_checks=checks.CONTRACT_CHECKS,
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
    further_outputs={"lse": oracle.log_sum_exp},
)
