"""The declaration of ``sample``."""

from __future__ import annotations

from braidcheck.kernels.common.inputs import VOCAB
from braidcheck.kernels.sample import cases, checks, oracle, sample
from braidcheck.kernels.sample.variants import VARIANTS
from braidcheck.op import Contract, Op

FILTERS = {"t": 60, "k": 20, "p": 95}

OP = Op(
    call=sample,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(outputs={"token": "int64"}, batch_invariant=True),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes={
        "1 token": {"T": 1, "V": VOCAB, **FILTERS},
        "16 tokens": {"T": 16, "V": VOCAB, **FILTERS},
    },
    contract_checks=checks.CONTRACT_CHECKS,
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
)
