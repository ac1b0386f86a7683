"""The declaration of ``qk_norm_rope``."""

from __future__ import annotations

from braidcheck.kernels.common.baselines import eager_qk_norm_rope
from braidcheck.kernels.common.inputs import HEADS, POSITIONS, by_tokens
from braidcheck.kernels.qk_norm_rope import cases, checks, oracle, qk_norm_rope
from braidcheck.kernels.qk_norm_rope.variants import VARIANTS
from braidcheck.op import Contract, Op

OP = Op(
    call=qk_norm_rope,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(outputs={"q": "q", "k": "k"}, batch_invariant=True),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes=by_tokens(**HEADS, P=POSITIONS),
    eager_baseline=eager_qk_norm_rope,
    contract_checks=checks.CONTRACT_CHECKS,
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
)
