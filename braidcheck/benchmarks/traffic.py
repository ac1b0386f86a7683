"""Activation bytes that attention moves in prefill: as the specification's separate phases, and fused into one op. They
come from the ops' cost model, minus its value at zero tokens, which is the weights. The cost is a minimum; tensors that
the fused op passes between its own launches also go through memory and are added from its recorded launches: an op that
is fused in name only saves nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypedDict

from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction
from triton.tools.tensor_descriptor import TensorDescriptor

from braidcheck import kernels
from braidcheck.benchmarks.shapes import arguments, benchmark_case
from braidcheck.kernels.common.inputs import HEADS, HIDDEN
from braidcheck.op import Case

FUSED = "fused_attention"
PROMPTS = ("512 tokens", "4096 tokens")
SIZE = 2  # bytes of a bfloat16
# The op with the same traffic as each phase: separate head norms and separate RoPE read and write Q and K, like the op
# that combines both; the separate projection reads a float32 row and writes Q, K and V.
PHASES = {
    "1 RMSNorm": "rms_norm",
    "1 QKV projection": "qkv_rope",
    "3 Q/K normalization": "qk_norm_rope",
    "4 RoPE": "qk_norm_rope",
    "5 KV cache": "cache_write",
    "5 attention": "attention_prefill",
}


class Traffic(TypedDict):
    """Bytes of the ``separate`` operations by phase, of the ``fused`` op, and of the tensors ``between`` its
    launches."""

    separate: dict[str, int]
    fused: int
    between: int
    launches: int


def measure_traffic(device: str, call: Callable[..., Any]) -> dict[str, Traffic]:
    """The traffic of each prompt.

    ``call`` is the fused op's wrapper; its ``launches`` are counted, not run.
    """
    traffic: dict[str, Traffic] = {}
    for shape in PROMPTS:
        separate = {phase: _activations(benchmark_case(op, shape, narrow=0)) for phase, op in PHASES.items()}
        case = benchmark_case(FUSED, shape)
        projection = Case("linear_residual", {"T": case["T"], "K": HEADS["Hq"] * HEADS["D"], "H": HIDDEN})
        # The op adds a residual, which the specification leaves to the caller: it is not counted here.
        separate["6 output projection"] = _activations(projection) - case["T"] * HIDDEN * SIZE
        inputs = arguments(kernels.find()[FUSED], case)
        inputs = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}
        launches, between = _handed_on(call, inputs)
        fused = _activations(case)
        traffic[shape] = {"separate": separate, "fused": fused, "between": between, "launches": launches}
    return traffic


def _activations(case: Case) -> int:
    cost = kernels.find()[case.op].cost
    return cost(case).bytes - cost(Case(case.op, {**case.axes, "T": 0})).bytes


def _handed_on(call: Callable[..., Any], inputs: Mapping[str, Any]) -> tuple[int, int]:
    """How many launches a call makes, and the bytes of intermediate tensors, once for each launch that takes them."""
    with _listed() as launches:
        out = call(**inputs)
    outer = {_memory(value) for value in (*inputs.values(), *(out if isinstance(out, tuple) else (out,)))}
    inner = [value for launch in launches for value in launch if _memory(value) not in outer]
    return len(launches), sum(value.nbytes for value in inner)


@contextmanager
def _listed() -> Iterator[list[list[Tensor]]]:
    """In this context a launch only records its tensors, in either lane."""
    launches: list[list[Tensor]] = []

    def listed(kernel: Any, *args: Any, **options: Any) -> None:
        inputs = (value.base if isinstance(value, TensorDescriptor) else value for value in (*args, *options.values()))
        launches.append([value for value in inputs if isinstance(value, Tensor)])

    before = {kind: kind.run for kind in (JITFunction, InterpretedFunction)}
    for kind in before:
        kind.run = listed
    try:
        yield launches
    finally:
        for kind, run in before.items():
            kind.run = run


def _memory(value: Any) -> int | None:
    return value.untyped_storage().data_ptr() if isinstance(value, Tensor) else None
