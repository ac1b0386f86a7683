"""Calls on a GPU beside the default stream: on another one behind work still running, and replayed as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.calls.chosen import chosen_cases
from braidcheck.gates.calls.observe import Outputs, observed, require_same
from braidcheck.numerics.calls import copies, run
from braidcheck.op import Case, Inputs, Op

DELAY_CYCLES = 20_000_000  # some 10 ms: longer than a launch takes to reach the GPU
WARMUP_CALLS = 3  # before a capture, as torch asks

Call = Callable[..., Any]


def stream_checks(op: Op, call: Call, device: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Name and check of each; a check raises ViolationError. None on a CPU."""
    if device == "cpu":
        return
    for case in chosen_cases(op):
        yield f"on another stream: {case.id}", partial(check_other_stream, op, call, case, device)
        yield f"in a CUDA graph: {case.id}", partial(check_graph, op, call, case, device)


def check_other_stream(op: Op, call: Call, case: Case, device: str) -> None:
    """The inputs arrive on a side stream late: a launch on any other stream reads what was there before."""
    inputs = op.inputs(case, device)
    expected = _bits(observed(op, call, copies(inputs)))
    place, stream = copies(op.inputs(replace(case, seed=case.seed + 1), device)), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(DELAY_CYCLES)
        _fill(place, inputs)
        outputs = run(op, call, _arguments(place, inputs))
    stream.synchronize()
    require_same(op, expected, outputs, "on another stream than the default one")


def check_graph(op: Op, call: Call, case: Case, device: str) -> None:
    """A captured call gives, with other numbers in its inputs, what a call gives that is not captured."""
    inputs, others = op.inputs(case, device), op.inputs(replace(case, seed=case.seed + 1), device)
    expected = {seed: _bits(observed(op, call, copies(each))) for seed, each in enumerate((inputs, others))}
    place = copies(inputs)
    arguments, stream = _arguments(place, inputs), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARMUP_CALLS):
            run(op, call, arguments)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run(op, call, arguments)
    for seed in (1, 0, 1):
        _fill(place, others if seed else inputs)
        graph.replay()
        torch.cuda.synchronize()
        require_same(op, expected[seed], outputs, "when a CUDA graph is replayed after its inputs changed")


def _arguments(place: Inputs, inputs: Inputs) -> Inputs:
    return {name: place[name] if isinstance(value, Tensor) else value for name, value in inputs.items()}


def _fill(place: Inputs, values: Inputs) -> None:
    for name, value in values.items():
        if isinstance(value, Tensor):
            place[name].copy_(value)


def _bits(outputs: Outputs) -> Outputs:
    return tuple(value.clone() for value in outputs)
