"""The declaration of ``qkv_rope``."""

from __future__ import annotations

from braidcheck.kernels.common.inputs import HEADS, HIDDEN, POSITIONS, by_tokens
from braidcheck.kernels.qkv_rope import baselines, cases, oracle, qkv_rope
from braidcheck.kernels.qkv_rope.variants import VARIANTS
from braidcheck.op import Contract, Op

OP = Op(
    call=qkv_rope,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs={"q": "qkv_weight", "k": "qkv_weight", "v": "qkv_weight"},
        casts=("x to the weight's dtype", "q and k to the weight's dtype before norm and RoPE"),
        result_casts={"linear": "qkv_weight"},
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes=by_tokens(H=HIDDEN, **HEADS, P=POSITIONS, norm=1, narrow=1),
    eager_baseline=baselines.eager,
    gemm_weight="qkv_weight",
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
)
