"""The declaration of ``rms_norm``."""

from __future__ import annotations

from braidcheck.kernels.common.baselines import eager_rms_norm
from braidcheck.kernels.common.inputs import HIDDEN, by_tokens
from braidcheck.kernels.rms_norm import cases, checks, oracle, rms_norm
from braidcheck.kernels.rms_norm.variants import VARIANTS
from braidcheck.op import Contract, Op

OP = Op(
    call=rms_norm,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(outputs={"y": "out_dtype or float32", "sum": "x"}, batch_invariant=True),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes=by_tokens(65536, H=HIDDEN),
    eager_baseline=eager_rms_norm,
    contract_checks=checks.CONTRACT_CHECKS,
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
)
