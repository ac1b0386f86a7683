"""A tutorial op: silu_and_mul, packed and in place. Of x[T, 2 N], gate beside up, gate becomes silu(gate) * up."""

import torch
import triton
import triton.language as tl

from braidcheck.kernels.common.inputs import Numbers
from braidcheck.kernels.common.specs import TensorSpec
from braidcheck.kernels.common.validation import Arguments
from braidcheck.numerics import bounds
from braidcheck.numerics.rounding import wide
from braidcheck.op import Case, Contract, Cost, Op, Sweep

ARGUMENTS = Arguments({"x": TensorSpec("T,W", written=True)}, multiples={"W": 2})


@triton.jit
def _silu_and_mul(x_ptr, N, stride, BLOCK: tl.constexpr):
    offs = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate_ptrs = x_ptr + tl.program_id(0).to(tl.int64) * stride + offs
    gate = tl.load(gate_ptrs, mask=offs < N, other=0.0).to(tl.float32)
    up = tl.load(gate_ptrs + N, mask=offs < N, other=0.0).to(tl.float32)
    tl.store(gate_ptrs, gate * tl.sigmoid(gate) * up, mask=offs < N)


def silu_and_mul(x):
    """Raises ValueError for what the kernel cannot serve."""
    ARGUMENTS.check(x)
    if x.numel():
        n = x.shape[1] // 2
        _silu_and_mul[(len(x), triton.cdiv(n, 128))](x, n, x.stride(0), BLOCK=128)


def reference(x, silu=torch.nn.functional.silu):
    gate, up = wide(x).chunk(2, dim=1)
    x[:, : gate.shape[1]] = silu(gate) * up


OP = Op(
    call=silu_and_mul,
    reference=reference,
    inputs=lambda case, device: {"x": Numbers(case, device).activations(case["T"], 2 * case["I"])},
    cases=(
        Case("silu_and_mul", {"T": 5, "I": 128}),
        Case("silu_and_mul", {"T": 7, "I": 300}, "float16", "tail"),
        Case("silu_and_mul", {"T": 3, "I": 40}, "float32", "steep"),
    ),
    contract=Contract(outputs={"x": "x"}, mutates=("x",), batch_invariant=True),
    bound=bounds.derived(reference, mutates=("x",)),
    cost=lambda case: Cost(3 * case["T"] * case["I"] * getattr(torch, case.dtype).itemsize, 5 * case["T"] * case["I"]),
    negative_controls={"gate and up exchanged": lambda given: {"x": given["x"].roll(given["x"].shape[1] // 2, 1)}},
    benchmark_shapes={"4096 tokens": {"T": 4096, "I": 3072}},
    sweeps=(Sweep(Case("silu_and_mul", {"T": 1, "I": 24}), ("T",), 65, 4097, rows=True),),
    variants={  # equivalent implementations, which must use less than half of the bound
        "sigmoid": lambda x: reference(x, lambda gate: gate * torch.sigmoid(gate)),
        "division": lambda x: reference(x, lambda gate: gate / (1 + torch.exp(-gate))),
        "float64": lambda x: x.copy_(torch.func.functionalize(lambda y: (reference(y), y)[1])(x.double())),
    },
)
