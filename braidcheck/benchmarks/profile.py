"""Where a decode step's time goes: microseconds of each kernel in one step, from the profiler's GPU records."""

from __future__ import annotations

import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypedDict

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from triton.runtime.jit import KernelInterface

from braidcheck import kernels
from braidcheck.benchmarks.answers import STEPS
from braidcheck.benchmarks.backends import BraidcheckDecoder, Subject, seeded_start
from braidcheck.benchmarks.decode import NEW_TOKENS, SAMPLES, Setting, least_bytes, name_of
from braidcheck.benchmarks.events import Rate, gpu_seconds
from braidcheck.benchmarks.roofline import copy_bandwidth
from braidcheck.errors import NotAvailable
from braidcheck.gates.layers.measure import SEED
from braidcheck.models.qwen3.architecture import QWEN3_0_6B, Qwen3Config
from braidcheck.models.qwen3.model import Qwen3Model
from braidcheck.models.qwen3.synthetic import synthetic_tensors
from braidcheck.models.qwen3.weights import Weights

PYTORCH = "PyTorch"


class Phase(TypedDict):
    """One kernel: launches and microseconds per step."""

    op: str
    kernel: str
    launches: float
    microseconds: float


class Evidence(TypedDict):
    """One row per kernel; microseconds of the whole step and of the roofline. ``serial``: recorded without a graph."""

    device: str
    batch: int
    context: int
    step: Rate
    roofline: float
    copy_bandwidth: float
    serial: bool
    rows: list[Phase]


def measure_phases(
    setting: Setting,
    device: str,
    progress: Callable[[str], None] = lambda text: None,
    config: Qwen3Config = QWEN3_0_6B,
) -> Evidence:
    """One row per kernel of braidcheck's decode: its op, launches and microseconds per step; and the whole step's
    microseconds. The step is timed without the profiler. Overlapping kernels (PDL) include their waiting time, so their
    sum can exceed the step. Raises NotAvailable if the profiler sees no kernel.
    """
    progress("measuring the copy bandwidth")
    bandwidth = copy_bandwidth(device)
    progress("making the model")
    weights = Weights.from_tensors(synthetic_tensors(config, SEED, device), config, torch.bfloat16)
    model = Qwen3Model(config, weights)
    start = seeded_start(config, setting.batch, setting.filled, setting.capacity, device)
    with torch.no_grad():
        subject = BraidcheckDecoder(model, start)
        _recorded(lambda: torch.zeros(1, device=device))  # a graph must be captured after the profiler's first start
        subject.run(STEPS)
        progress("timing steps")
        (timing,) = gpu_seconds(lambda: subject.run(NEW_TOKENS), count=SAMPLES - 1)
        progress("recording kernels")
        events, steps = _kernels(subject)
    rate = timing.rate(1e-6 * NEW_TOKENS)
    return {
        "device": name_of(device),
        "batch": setting.batch,
        "context": setting.context,
        "step": {"median": 1 / rate["median"], "low": 1 / rate["high"], "high": 1 / rate["low"]},
        "roofline": 1e6 * least_bytes(config, setting) / bandwidth,
        "copy_bandwidth": bandwidth,
        "serial": steps == 1,
        "rows": phases(events, steps, owners()),
    }


def _kernels(subject: Subject) -> tuple[list[tuple[str, float]], int]:
    """The records of some steps, and how many steps: a single step is launched kernel by kernel, not replayed."""
    for steps in (NEW_TOKENS, 1):
        events = _recorded(partial(subject.run, steps))
        if any(name in owners() for name, _ in events):
            return events, steps
    raise NotAvailable("torch's profiler records no kernels here: ask the machine's administrator to permit CUPTI")


def _recorded(call: Callable[[], object]) -> list[tuple[str, float]]:
    """Name and microseconds of each GPU activity."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        call()
        torch.cuda.synchronize()
    return [(e.name, e.time_range.elapsed_us()) for e in seen.events() if e.device_type == DeviceType.CUDA]


def owners() -> dict[str, str]:
    """The module of ``kernels`` that defines each kernel, by the kernel's name."""
    found = {}
    for info in pkgutil.walk_packages(kernels.__path__, f"{kernels.__name__}."):
        for value in vars(importlib.import_module(info.name)).values():
            if isinstance(value, KernelInterface) and value.fn.__module__ == info.name:
                found[value.fn.__name__] = info.name.removeprefix(f"{kernels.__name__}.").split(".")[0]
    return found


def phases(events: Iterable[tuple[str, float]], steps: int, owner: Mapping[str, str]) -> list[Phase]:
    """One row per kernel, the costliest op first; kernels that are not braidcheck's belong to PyTorch."""
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for name, microseconds in events:
        taken[owner.get(name, PYTORCH), name].append(microseconds / steps)
    of_op: dict[str, float] = defaultdict(float)
    for (op, _), each in taken.items():
        of_op[op] += sum(each)
    rows: list[Phase] = [
        {"op": op, "kernel": kernel, "launches": len(each) / steps, "microseconds": sum(each)}
        for (op, kernel), each in taken.items()
    ]
    return sorted(rows, key=lambda row: (-of_op[row["op"]], row["op"], -row["microseconds"]))
