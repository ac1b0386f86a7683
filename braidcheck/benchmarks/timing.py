"""Times every op on its production shapes together with the frozen control, in one process that has its GPU to
itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TypedDict

import torch

from braidcheck.benchmarks.baselines import CONTROL, control
from braidcheck.benchmarks.clocks import Monitor, NoClocks
from braidcheck.benchmarks.replay import Replay, Turn
from braidcheck.benchmarks.roofline import Limits, measure_limits
from braidcheck.benchmarks.shapes import Series, arguments, series
from braidcheck.op import Op

ROUNDS = 3  # of each series, alternating with the control


class Sample(Turn):
    """The median round of one series, its bytes and flops, and the control's seconds."""

    bytes: int
    flops: int
    control: float


class Failed(TypedDict):
    """A series that raised."""

    error: str


class Evidence(TypedDict, total=False):
    """All series by name, and the limits of this machine; or the ``reason`` why nothing was timed."""

    reason: str
    device: str
    limits: Limits
    control: str
    series: dict[str, Sample | Failed]


def measure_timing(
    ops: Mapping[str, Op], progress: Callable[[str], None] = lambda text: None, seed: int = 0
) -> Evidence:
    """The machine's ``limits`` and, for each series, the median round's reading, its bytes, flops and the control's
    time. A series that raised has only an ``error``. Without NVML there is only a ``reason``.
    """
    try:
        Monitor(str(torch.cuda.get_device_properties(0).uuid))
    except NoClocks as why:
        return {"reason": str(why)}
    progress("measuring the machine's own bandwidth and GEMM peak")
    limits = measure_limits()
    torch.cuda.empty_cache()
    frozen = Replay(*control())
    op_series = series(ops)
    random.Random(seed).shuffle(op_series)  # so that no series always follows the same one
    samples: dict[str, Sample | Failed] = {}
    for number, one in enumerate(op_series):
        progress(f"timing {one.name}, {number} of {len(op_series)} done")
        try:
            samples[one.name] = _time(one, ops[one.op], frozen)
        except Exception as error:  # any exception of a kernel counts against it
            samples[one.name] = {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
            torch.cuda.synchronize()  # a broken context raises here: then no later series can be timed either
    return {"device": torch.cuda.get_device_name(), "limits": limits, "control": CONTROL, "series": samples}


def _time(one: Series, op: Op, frozen: Replay) -> Sample:
    cost = op.cost(one.case)
    replay = Replay(op.call, arguments(op, one.case), cost.bytes)
    turns, controls = [], []
    for _ in range(ROUNDS):
        controls.append(frozen.turn()["seconds"])
        turns.append(replay.turn())
    middle = sorted(turns, key=lambda turn: turn["seconds"])[ROUNDS // 2]
    return {
        **middle,
        "kept": sum(turn["kept"] for turn in turns),
        "discarded": sum(turn["discarded"] for turn in turns),
        "low": min(turn["low"] for turn in turns),
        "high": max(turn["high"] for turn in turns),
        "bytes": cost.bytes,
        "flops": cost.flops,
        "control": sorted(controls)[ROUNDS // 2],
        "disturbed": any(turn["disturbed"] for turn in turns),
    }
