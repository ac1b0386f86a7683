"""The declaration of ``rms_norm_qkv``."""

from __future__ import annotations

from braidcheck.kernels.common.baselines import eager_norm_qkv
from braidcheck.kernels.common.inputs import HEADS, HIDDEN, by_tokens
from braidcheck.kernels.rms_norm_qkv import cases, oracle, rms_norm_qkv
from braidcheck.kernels.rms_norm_qkv.variants import VARIANTS
from braidcheck.op import Contract, Op

OP = Op(
    call=rms_norm_qkv,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs=dict.fromkeys("qkv", "out_dtype or qkv_weight"), casts=("the normalised x to the weight's dtype",)
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes=by_tokens(128, H=HIDDEN, **HEADS),
    eager_baseline=eager_norm_qkv,
    gemm_weight="qkv_weight",
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
)
