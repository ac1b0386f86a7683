"""Times one tree's kernels: ``python -m braidcheck.ci.paired.worker``, with JSON lines in and out.

The process imports torch and makes the inputs once, on the CPU; ``fork`` starts a child that takes over the pipe and is
the only one to use the GPU, so that a restart with a fresh memory layout is cheap. Commands of the parent: prepare
(series), fork. Commands of a child: place (series), turn, end. The answer of a failed command has ``error``, one line.
``ci/paired`` and ``benchmarks`` are always those of the evaluating tree.
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
ENGINE = "engine"  # in place of an op's name: the whole engine is timed


class Prepared(TypedDict):
    """A fingerprint of each argument."""

    inputs: dict[str, str]


class Placed(TypedDict, total=False):
    """How many copies of the arguments the graph rotates through; the host cost of a request, by name."""

    copies: int
    counts: dict[str, int]


class Bench(Protocol):
    """What a worker runs: an op, the engine or a function."""

    def prepare(self, series: Message) -> Prepared:
        """Make the inputs of ``series`` (name, op, axes); the answer's ``inputs`` identify them."""

    def place(self, series: Message) -> Placed:
        """Prepare the series for timing in this process and free the previous one."""

    def turn(self, _: Message) -> Reading:
        """Time it: ``seconds`` of one call, and details of the samples."""


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
        inputs = arguments(op, case)
        self.prepared[series["name"]] = op.call, inputs, op.cost(case).bytes
        return {"inputs": fingerprint(inputs)}

    def place(self, series: Message) -> Placed:
        """Copies on the GPU and a captured graph; for the engine, a model with seeded weights and one warm-up
        request."""
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
        """One round of the graph, or of the request."""
        assert self.placed  # it was placed
        return self.placed.turn()


def fingerprint(inputs: Mapping[str, Any]) -> dict[str, str]:
    """A fingerprint of each argument by name: both trees must get the same inputs."""
    import torch

    def of(value: Any) -> str:
        if not isinstance(value, torch.Tensor):
            return repr(value)
        raw = value.contiguous().view(torch.uint8).numpy()
        return f"{value.dtype} {list(value.shape)} {zlib.crc32(raw):08x}"

    return {name: of(value) for name, value in inputs.items()}


def serve(bench: Bench) -> None:
    """Answer commands until the input ends; output of kernels and libraries goes to stderr."""
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
    """Fork a child and wait for its end; returns how it ended. Never returns in the child."""
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
    except Exception as error:  # any exception of a kernel is reported, not raised
        first = (str(error).strip().splitlines() or [""])[0]
        return {"error": f"{type(error).__name__}: {first}"}


def _say(out: TextIO, answer: Message) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


if __name__ == "__main__":
    import torch  # noqa: F401  (so that children find it imported)

    serve(GpuBench())
