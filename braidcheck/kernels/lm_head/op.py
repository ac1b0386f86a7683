"""The declaration of ``lm_head``."""

from __future__ import annotations

from braidcheck.kernels.common.inputs import HIDDEN, VOCAB
from braidcheck.kernels.lm_head import baselines, cases, checks, lm_head, oracle
from braidcheck.kernels.lm_head.variants import VARIANTS
from braidcheck.op import Contract, Op

OP = Op(
    call=lm_head,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs={"logits": "int64 if argmax or float32"}, casts=("the normalised x to the weight's dtype",)
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes={
        "1 token": {"T": 1, "H": HIDDEN, "V": VOCAB, "argmax": 1},
        "16 tokens": {"T": 16, "H": HIDDEN, "V": VOCAB, "argmax": 1},
    },
    eager_baseline=baselines.eager,
    gemm_weight="weight",
    contract_checks=checks.CONTRACT_CHECKS,
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
)
