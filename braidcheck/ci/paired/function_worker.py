"""Times a user's function as an op: ``python -m ... FILE:FUNCTION DEVICE``; see ``worker``."""

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

SAMPLE_S, SAMPLES = 0.02, 3  # of one round on a CPU
MAX_DIFFERENCE = 0.05  # relative 2-norm error of an output; 16-bit rounding stays below a hundredth


class CpuLoop:
    """A call that is repeated on a CPU with warm caches."""

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
    """The function, on the op's benchmark shapes."""

    def __init__(self, function: str, device: str) -> None:
        self.function, self.device = function, device
        self.prepared: dict[str, tuple[Op, Callable[..., Any], Inputs, int]] = {}
        self.placed: Any = None

    def prepare(self, series: Message) -> Prepared:
        """Load the function and make the inputs on the CPU. Raises UserError if there is no such function."""
        from braidcheck import kernels
        from braidcheck.benchmarks.shapes import arguments
        from braidcheck.gates.under_test.worker import as_op, load, takes
        from braidcheck.op import Case

        op, case = kernels.find()[series["op"]], Case(series["op"], series["axes"], **series["case"])
        inputs, function = arguments(op, case), load(self.function)
        # Preallocated outputs, which only save a decoder an allocation, are left out.
        taken = {name: value for name, value in inputs.items() if name != "split_counter" or takes(function, name)}
        self.prepared[series["name"]] = op, as_op(op, function), taken, op.cost(case).bytes
        return {"inputs": fingerprint(inputs)}

    def place(self, series: Message) -> Placed:
        """Prepare it for timing. Raises ValueError if its output is far from the op's."""
        op, call, inputs, touched = self.prepared[series["name"]]
        self.placed = None
        require_nearly(op, call, inputs, self.device)
        if self.device == "cpu":
            self.placed = CpuLoop(call, inputs)
        else:
            from braidcheck.benchmarks.replay import Replay

            self.placed = Replay(call, inputs, touched)
        return {"copies": self.placed.count}

    def turn(self, _: Message) -> Any:
        """Time it."""
        return self.placed.turn()


def require_nearly(op: Op, call: Callable[..., Any], placed: Mapping[str, Any], device: str) -> None:
    """Raise ValueError if an output is far from the reference: timing a different function is pointless. This is no
    accuracy check; ``braidcheck check`` is.
    """
    import torch

    from braidcheck.numerics.calls import copies, run

    inputs = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in placed.items()}
    outputs, truths = (run(op, function, copies(inputs)) for function in (call, op.reference))
    for name, output, truth in zip(op.outputs, outputs, truths, strict=False):
        if output.shape != truth.shape:
            raise ValueError(f"{name} has shape {list(output.shape)}, must have {list(truth.shape)}: wrong function?")
        if truth.is_floating_point():
            output, truth = output.float().nan_to_num(), truth.float().nan_to_num()
            difference = float((output - truth).norm() / truth.norm().clamp(min=1e-30))
            if not difference <= MAX_DIFFERENCE:
                raise ValueError(f"{name} is {difference:.0%} from the op's: this is another function")


if __name__ == "__main__":
    os.environ.pop("TRITON_INTERPRET", None)  # whose time is not a kernel's
    import torch

    torch.set_num_threads(1)  # other threads would not survive the fork
    serve(FunctionBench(*sys.argv[1:]))
