"""Times ops against the specification's comparisons on one GPU, in interleaved rounds in random order."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from braidcheck.benchmarks import baselines
from braidcheck.benchmarks.clocks import Monitor, NoClocks
from braidcheck.benchmarks.replay import Replay
from braidcheck.benchmarks.roofline import Limits, measure_limits
from braidcheck.benchmarks.shapes import arguments, benchmark_case
from braidcheck.kernels.common.inputs import HEADS, HIDDEN
from braidcheck.kernels.fused_attention.baselines import eager as eager_attention
from braidcheck.kernels.fused_attention.op import OP as FUSED_ATTENTION
from braidcheck.kernels.qk_norm_rope import qk_norm_rope
from braidcheck.kernels.qkv_rope import qkv_rope
from braidcheck.kernels.qkv_rope.op import OP as QKV_ROPE
from braidcheck.kernels.rms_norm import rms_norm
from braidcheck.kernels.rms_norm.op import OP as RMS_NORM
from braidcheck.kernels.rms_norm_qkv.op import OP as RMS_NORM_QKV
from braidcheck.op import Case, Inputs, Op

ROUNDS = 5
LAYERS = 28
BRAIDCHECK = "braidcheck"


class Result(TypedDict):
    """``seconds`` of each call, one reading per round, and in ``errors`` one line for each call that raised."""

    seconds: dict[str, list[float]]
    errors: dict[str, str]
    bytes: int


class Evidence(TypedDict, total=False):
    """All comparisons and the machine's limits; or the ``reason`` why nothing was timed."""

    reason: str
    device: str
    limits: Limits
    comparisons: dict[str, Result]


@dataclass(frozen=True)
class Comparison:
    """Calls with the same arguments, one of them braidcheck's, and the minimum bytes that each must move."""

    inputs: Mapping[str, Any]
    touched: int
    calls: Mapping[str, Callable[..., Any]]


def measure_fusions(progress: Callable[[str], None] = lambda text: None, seed: int = 0) -> Evidence:
    """The machine's ``limits`` and, for each comparison, the ``seconds`` of each call, one reading per round; or the
    ``reason`` why nothing was timed. A call that raised has a line in ``errors`` instead of seconds.
    """
    try:
        Monitor(str(torch.cuda.get_device_properties(0).uuid))
    except NoClocks as why:
        return {"reason": str(why)}
    progress("measuring the machine's own bandwidth and GEMM peak")
    results: dict[str, Result] = {}
    limits = measure_limits()
    torch.cuda.empty_cache()
    order = random.Random(seed)
    for name, make in comparisons().items():
        progress(f"timing {name}")
        results[name] = run(make(), order)
        torch.cuda.empty_cache()
    return {"device": torch.cuda.get_device_name(), "limits": limits, "comparisons": results}


def run(comparison: Comparison, order: random.Random) -> Result:
    """Time the calls in random order; one that raises is reported."""
    replays: dict[str, Replay] = {}
    errors: dict[str, str] = {}
    for name, call in comparison.calls.items():
        try:
            replays[name] = Replay(call, comparison.inputs, comparison.touched)
        except Exception as error:  # whatever a baseline's libraries raise says that it did not run here
            errors[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            torch.cuda.synchronize()
    seconds: dict[str, list[float]] = {name: [] for name in replays}
    for _ in range(ROUNDS):
        for name in order.sample(sorted(replays), len(replays)):
            seconds[name].append(replays[name].turn()["seconds"])
    return {"seconds": seconds, "errors": errors, "bytes": comparison.touched}


def comparisons() -> dict[str, Callable[[], Comparison]]:
    """All comparisons by name; each makes its arguments only when it is timed."""
    made: dict[str, Callable[[], Comparison]] = {}
    for shape, axes in QKV_ROPE.benchmark_shapes.items():
        made[f"RMSNorm[{shape}]"] = partial(_norms, "rms_norm", shape)
        made[f"norm + QKV[{shape}]"] = partial(_projections, axes["T"], HIDDEN, HEADS)
        made[f"norm, QKV + RoPE[{shape}]"] = partial(_plain_paths, shape)
        made[f"norm, QKV, head norms + RoPE[{shape}]"] = partial(_whole_paths, shape)
    made["norm + QKV[1 token, 896 wide]"] = lambda: _projections(1, 896, {"Hq": 14, "Hkv": 2, "D": 64})
    for shape in ("1 row of 2048", "512 tokens"):
        made[f"attention block[{shape}]"] = partial(_blocks, shape)
    return made


def _inputs(op: Op, case: Case) -> tuple[Inputs, int]:
    return arguments(op, case), op.cost(case).bytes


def _compiled(call: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(call, dynamic=False)


def _eager(op: Op) -> Callable[..., Any]:
    assert op.eager_baseline is not None
    return op.eager_baseline


def _norms(op: str, shape: str) -> Comparison:
    inputs, touched = _inputs(RMS_NORM, benchmark_case(op, shape))
    eager = _eager(RMS_NORM)
    return Comparison(inputs, touched, {BRAIDCHECK: rms_norm, "eager": eager, "torch.compile": _compiled(eager)})


def _projections(tokens: int, width: int, heads: Mapping[str, int]) -> Comparison:
    inputs, touched = _inputs(RMS_NORM_QKV, Case("rms_norm_qkv", {"T": tokens, "H": width, **heads}))
    calls: Mapping[str, Callable[..., Any]] = {
        BRAIDCHECK: RMS_NORM_QKV.call,
        "eager": _eager(RMS_NORM_QKV),
        "torch.compile": _compiled(_eager(RMS_NORM_QKV)),
        "the specified kernel": baselines.documents_norm_qkv,
        "cuBLAS alone": lambda x, qkv_weight, **_: F.linear(x, qkv_weight),
    }
    return Comparison(inputs, touched, calls)


def _path_inputs(shape: str) -> tuple[Inputs, int]:
    """The arguments of a path from the residual stream ``x`` to rotated heads; ``normed`` is a float32 x as well."""
    inputs, touched = _inputs(QKV_ROPE, benchmark_case("qkv_rope", shape, narrow=0))
    x = inputs.pop("x")
    return inputs | {"x": x.bfloat16(), "normed": x, "norm_weight": torch.ones(HIDDEN).bfloat16()}, touched


def _plain_paths(shape: str) -> Comparison:
    """Without head norms: the norm with QKV + RoPE, QKV + RoPE by itself, and the specification's norm + QKV without
    RoPE."""
    inputs, touched = _path_inputs(shape)
    del inputs["q_norm_weight"], inputs["k_norm_weight"]

    def separate(x: Tensor, normed: Tensor, norm_weight: Tensor, **rest: Any) -> Any:
        return qkv_rope(rms_norm(x, norm_weight, rest["eps"]), **rest)

    def alone(x: Tensor, normed: Tensor, norm_weight: Tensor, **rest: Any) -> Any:
        return qkv_rope(normed, **rest)

    def fused(x: Tensor, normed: Tensor, norm_weight: Tensor, qkv_weight: Tensor, **rest: Any) -> Any:
        sizes = (rest[name] for name in ("num_heads", "num_kv_heads", "head_dim"))
        return baselines.documents_norm_qkv(x, norm_weight, qkv_weight, rest["eps"], *sizes)

    calls: Mapping[str, Callable[..., Any]] = {
        BRAIDCHECK: separate,
        "QKV + RoPE alone": alone,
        "the specified kernel": fused,
    }
    return Comparison(inputs, touched, calls)


def _whole_paths(shape: str) -> Comparison:
    """With head norms: braidcheck, and the specified kernel completed by braidcheck's kernels."""
    inputs, touched = _path_inputs(shape)

    def separate(x: Tensor, normed: Tensor, norm_weight: Tensor, **rest: Any) -> Any:
        return qkv_rope(rms_norm(x, norm_weight, rest["eps"]), **rest)

    def fused(
        x: Tensor,
        normed: Tensor,
        norm_weight: Tensor,
        qkv_weight: Tensor,
        cos_sin: Tensor,
        positions: Tensor,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        q_norm_weight: Tensor,
        k_norm_weight: Tensor,
        eps: float,
    ) -> Any:
        sizes = num_heads, num_kv_heads, head_dim
        q, k, v = baselines.documents_norm_qkv(x, norm_weight, qkv_weight, eps, *sizes)
        return qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps), v

    calls: Mapping[str, Callable[..., Any]] = {BRAIDCHECK: separate, "the specified kernel": fused}
    return Comparison(inputs, touched, calls)


def _blocks(shape: str) -> Comparison:
    inputs, touched = _inputs(FUSED_ATTENTION, benchmark_case("fused_attention", shape))
    inputs |= {name: inputs[name].nan_to_num(0.5) for name in ("k_cache", "v_cache")}
    calls = {
        BRAIDCHECK: FUSED_ATTENTION.call,
        "eager": eager_attention,
        "torch.compile": _compiled(eager_attention),
    }
    return Comparison(inputs, touched, calls)
