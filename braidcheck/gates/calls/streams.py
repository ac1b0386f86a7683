"""Calls on a GPU outside the default stream: on a side stream behind unfinished work, and replayed as a CUDA graph."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.calls.chosen import chosen_cases
from braidcheck.gates.calls.observe import Outputs, observed, require_same
from braidcheck.gates.under_test import is_candidate
from braidcheck.isolation.surroundings import noted
from braidcheck.numerics.calls import copies, run
from braidcheck.op import Case, Inputs, Op

DELAY_CYCLES = 20_000_000  # some 10 ms: longer than a launch takes to reach the GPU
WARMUP_CALLS = 3  # before a capture, as torch requires

Call = Callable[..., Any]


def stream_checks(op: Op, call: Call, device: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names and checks; a check raises ViolationError. Empty on a CPU."""
    if device == "cpu":
        return
    for case in chosen_cases(op):
        yield f"on another stream: {case.id}", partial(check_other_stream, op, call, case, device)
        yield f"in a CUDA graph: {case.id}", partial(check_graph, op, call, case, device)


def check_other_stream(op: Op, call: Call, case: Case, device: str) -> None:
    """The inputs arrive late on a side stream: a launch on any other stream reads stale values."""
    inputs = op.inputs(case, device)
    expected = _bits(observed(op, call, copies(inputs)))
    place = copies(inputs)
    with late_arguments(place):
        outputs = run(op, call, place)
    require_same(op, expected, outputs, "on another stream than the default one")


@contextmanager
def late_arguments(arguments: Mapping[str, Any]) -> Iterator[None]:
    """A context with a side stream as the current one: tensors hold zeros until unfinished work on it restores their
    values."""
    values, stream = _bits_by_name(arguments), torch.cuda.Stream()
    _fill(arguments, {name: torch.zeros_like(value) for name, value in values.items()})
    torch.cuda.synchronize()
    with noted("late arguments"), torch.cuda.stream(stream):
        torch.cuda._sleep(DELAY_CYCLES)
        _fill(arguments, values)
        yield
    stream.synchronize()


def check_graph(op: Op, call: Call, case: Case, device: str) -> None:
    """A captured call, replayed with other numbers in its inputs, gives the result of an ordinary call."""
    inputs, others = op.inputs(case, device), op.inputs(replace(case, seed=case.seed + 1), device)
    for values, captured in ((inputs, others), (others, inputs)):
        expected, place = _bits(observed(op, call, copies(values))), copies(values)
        if is_candidate(op.name):
            with noted("replayed", arguments=_bits_by_name(captured)):
                outputs = run(op, call, place)
        else:
            outputs = run(op, _in_graph(call, captured), place)
        require_same(op, expected, outputs, "when a CUDA graph is replayed after its inputs changed")


def _in_graph(call: Call, captured: Inputs) -> Call:
    @functools.wraps(call)
    def graphed(*args: Any, **kwargs: Any) -> Any:
        return replayed(call, captured, inspect.signature(call).bind(*args, **kwargs).arguments)

    return graphed


def replayed(call: Call, captured: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
    """The result of a call that is captured with other values in its arguments and replayed twice with the real
    ones."""
    values, stream = _bits_by_name(arguments), torch.cuda.Stream()
    others = {name: value for name, value in captured.items() if name in values}
    _fill(arguments, others)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARMUP_CALLS):
            call(**arguments)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        returned = call(**arguments)
    for each in (values, others, values):
        _fill(arguments, each)
        graph.replay()
        torch.cuda.synchronize()
    return returned


def _fill(place: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Tensor):
            place[name].copy_(value)


def _bits(outputs: Outputs) -> Outputs:
    return tuple(value.clone() for value in outputs)


def _bits_by_name(arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in arguments.items() if isinstance(value, Tensor)}
