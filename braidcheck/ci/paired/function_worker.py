"""Times one function of anybody's in the place of an op: ``python -m ... FILE:FUNCTION DEVICE``; see ``worker``."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from braidcheck.ci.paired.worker import Message, Placed, Prepared, fingerprint, serve

if TYPE_CHECKING:
    from braidcheck.op import Inputs, Op

SAMPLE_S, SAMPLES = 0.02, 3  # of one turn on a CPU
MAX_DIFFERENCE = 0.05  # of an output from the reference in the 2-norm: roundings of 16 bits stay below a hundredth


class CpuLoop:
    """A call that is repeated on a CPU, with the caches as it leaves them."""

    def __init__(self, call: Callable[..., Any], inputs: Mapping[str, Any]) -> None:
        self.call, self.inputs, self.count = call, inputs, 1
        self._seconds()
        self.repeats = max(1, int(SAMPLE_S / self._seconds()))

    def turn(self) -> dict[str, float]:
        """The median over SAMPLES of the seconds of one call."""
        return {"seconds": statistics.median(self._seconds(self.repeats) for _ in range(SAMPLES))}

    def _seconds(self, repeats: int = 1) -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            self.call(**self.inputs)
        return max(1e-9, (time.perf_counter() - began) / repeats)


class FunctionBench:
    """The function, on the shapes in which the op is timed."""

    def __init__(self, function: str, device: str) -> None:
        self.function, self.device = function, device
        self.prepared: dict[str, tuple[Op, Callable[..., Any], Inputs, int]] = {}
        self.placed: Any = None

    def prepare(self, series: Message) -> Prepared:
        """Load the function and make the inputs, on the CPU. Raises UserError where there is no such function."""
        from braidcheck import kernels
        from braidcheck.benchmarks.shapes import arguments
        from braidcheck.gates.under_test.worker import as_op, load, takes
        from braidcheck.op import Case

        op, case = kernels.find()[series["op"]], Case(series["op"], series["axes"], **series["case"])
        given, function = arguments(op, case), load(self.function)
        # What only saves a decoder an allocation is no part of the question.
        taken = {name: value for name, value in given.items() if name != "split_counter" or takes(function, name)}
        self.prepared[series["name"]] = op, as_op(op, function), taken, op.cost(case).bytes
        return {"inputs": fingerprint(given)}

    def place(self, series: Message) -> Placed:
        """Make it ready to be timed. Raises ValueError where what it gives is not nearly the op's."""
        op, call, given, touched = self.prepared[series["name"]]
        self.placed = None
        require_nearly(op, call, given, self.device)
        if self.device == "cpu":
            self.placed = CpuLoop(call, given)
        else:
            from braidcheck.benchmarks.replay import Replay

            self.placed = Replay(call, given, touched)
        return {"copies": self.placed.count}

    def turn(self, _: Message) -> Any:
        """Time it."""
        return self.placed.turn()


def require_nearly(op: Op, call: Callable[..., Any], given: Mapping[str, Any], device: str) -> None:
    """Raise ValueError where an output is far from the reference's: the time of another function says nothing.

    Whether a function is right is for ``braidcheck check``.
    """
    import torch

    from braidcheck.numerics.calls import copies, run

    inputs = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in given.items()}
    outputs, truths = (run(op, function, copies(inputs)) for function in (call, op.reference))
    for name, output, truth in zip(op.outputs, outputs, truths, strict=False):
        if output.shape != truth.shape:
            raise ValueError(f"{name} has shape {list(output.shape)}, must have {list(truth.shape)}: another function")
        if truth.is_floating_point():
            output, truth = output.float().nan_to_num(), truth.float().nan_to_num()
            difference = float((output - truth).norm() / truth.norm().clamp(min=1e-30))
            if not difference <= MAX_DIFFERENCE:
                raise ValueError(f"{name} is {difference:.0%} from the op's: this is another function")


if __name__ == "__main__":
    os.environ.pop("TRITON_INTERPRET", None)  # whose seconds are no kernel's
    import torch

    torch.set_num_threads(1)  # others would not survive the fork
    serve(FunctionBench(*sys.argv[1:]))
