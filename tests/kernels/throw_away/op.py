from braidcheck.kernels.throw_away import cases, checks, oracle, throw_away
from braidcheck.kernels.throw_away.variants import VARIANTS

from braidcheck.op import Contract, Op

OP = Op(
    call=throw_away,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(outputs={"y": "x"}, batch_invariant=True),
    bound=oracle.bound,
    cost=oracle.cost,
    negative_controls=cases.NEGATIVE_CONTROLS,
    benchmark_shapes=cases.SHAPES,
    eager_baseline=lambda x: 2 * x + 1,
    contract_checks=checks.CONTRACT_CHECKS,
    sweeps=cases.SWEEPS,
    variants=VARIANTS,
)
