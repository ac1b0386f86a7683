"""Times one tree's kernels: run as ``python -m braidcheck.ci.paired.worker``, lines of JSON in and out.

The process imports torch and makes the inputs once, on the CPU; ``fork`` starts a child that takes over the
conversation and alone touches the GPU, so that a restarted process with a memory layout of its own costs little.
Commands of the parent: prepare (series), fork. Of a child: place (series), turn, end. An answer holds ``error``, one
line, where the command failed. This file and ``measure`` are the evaluating tree's own in every tree that is evaluated.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO, TypedDict

if TYPE_CHECKING:
    from braidcheck.benchmarks.clocks import Reading
    from braidcheck.benchmarks.replay import Replay
    from braidcheck.benchmarks.requests import Timer
    from braidcheck.op import Inputs

Message = Mapping[str, Any]
ENGINE = "engine"  # stands for an op where the whole engine is timed


class Prepared(TypedDict):
    """The contents of each argument, short."""

    inputs: dict[str, str]


class Placed(TypedDict, total=False):
    """How many copies of the arguments the graph rotates over; what a request costs the host, by name."""

    copies: int
    counts: dict[str, int]


class Bench(Protocol):
    """What a worker times things with."""

    def prepare(self, series: Message) -> Prepared:
        """Make the inputs of ``series`` (name, op, axes): ``inputs`` says which they are."""

    def place(self, series: Message) -> Placed:
        """Make the series ready to be timed in this process; the one before it goes."""

    def turn(self, _: Message) -> Reading:
        """Time it: ``seconds`` of one call, and more about the samples."""


class GpuBench:
    """The kernels and the engine of the tree that this process imports, on the GPU."""

    def __init__(self) -> None:
        self.prepared: dict[str, tuple[Callable[..., Any], Inputs, int]] = {}
        self.model: Any = None
        self.placed: Replay | Timer | None = None

    def prepare(self, series: Message) -> Prepared:
        """Inputs on the CPU, kept for all children. Raises whatever the op raises."""
        if series["op"] == ENGINE:
            importlib.import_module("braidcheck.benchmarks.requests")
            return {"inputs": {}}
        from braidcheck.benchmarks.shapes import arguments
        from braidcheck.op import Case

        case = Case(series["op"], series["axes"])
        try:
            op = importlib.import_module(f"braidcheck.kernels.{series['op']}.op").OP
        except ModuleNotFoundError:
            raise LookupError(f"there is no op {series['op']}") from None
        given = arguments(op, case)
        self.prepared[series["name"]] = op.call, given, op.cost(case).bytes
        return {"inputs": fingerprint(given)}

    def place(self, series: Message) -> Placed:
        """Copies on the GPU and a captured graph; of the engine, a model of seeded weights and one request served."""
        self.placed = None
        if series["op"] == ENGINE:
            from braidcheck.benchmarks.requests import REQUESTS, Timer, seeded_model

            self.model = self.model or seeded_model()
            self.placed = timer = Timer(REQUESTS[series["request"]], self.model, series["counted"])
            return {"counts": timer.counts}
        from braidcheck.benchmarks.replay import Replay

        self.placed = replay = Replay(*self.prepared[series["name"]])
        return {"copies": replay.count}

    def turn(self, _: Message) -> Reading:
        """One turn of the graph, or of the request."""
        assert self.placed  # it was placed
        return self.placed.turn()


def fingerprint(given: Mapping[str, Any]) -> dict[str, str]:
    """Name and contents of each argument, short: two trees that are compared must be given the same."""
    import torch

    def of(value: Any) -> str:
        if not isinstance(value, torch.Tensor):
            return repr(value)
        raw = value.contiguous().view(torch.uint8).numpy()
        return f"{value.dtype} {list(value.shape)} {zlib.crc32(raw):08x}"

    return {name: of(value) for name, value in given.items()}


def serve(bench: Bench) -> None:
    """Answer commands until there are no more; what kernels and libraries print goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _say(out, {"ready": True})
    for line in sys.stdin:
        message = json.loads(line)
        if message["do"] == "fork":
            _say(out, {"ended": _child(bench, out)})
        else:
            _say(out, _answer(bench, message))


def _child(bench: Bench, out: TextIO) -> str:
    """A child's whole life, seen from its parent: how it ended. The child itself never returns."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else str(os.WEXITSTATUS(status))
    try:
        _say(out, {"forked": os.getpid()})
        for line in sys.stdin:
            message = json.loads(line)
            if message["do"] == "end":
                os._exit(0)
            _say(out, _answer(bench, message))
    finally:
        os._exit(1)


def _answer(bench: Bench, message: Message) -> Message:
    try:
        return getattr(bench, message["do"])(message)
    except Exception as error:  # whatever a kernel raises is reported, not raised
        first = (str(error).strip().splitlines() or [""])[0]
        return {"error": f"{type(error).__name__}: {first}"}


def _say(out: TextIO, answer: Message) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


if __name__ == "__main__":
    import torch  # noqa: F401  (so that children find it imported)

    serve(GpuBench())
