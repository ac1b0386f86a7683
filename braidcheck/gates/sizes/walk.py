"""One sweep of an op: at each size the error of all outputs, and the bits of rows among other neighbours.

Independent rows are a few different ones, repeated: one float64 reference serves all sizes, and every row is tested. If
the contract promises batch invariance, a row's bits are those of the row alone; in any op they do not change when
neighbours are exchanged and the number of rows is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.accuracy.outputs import output_problems
from braidcheck.numerics.calls import copies, in_float64, poisoned_outputs, run
from braidcheck.numerics.error import error_ratios, unravel_index
from braidcheck.op import Inputs, Op, Sweep

DISTINCT = 7  # different rows, repeated: divides no block size, so that swapped rows show
EXCHANGED = 3  # one in so many rows is exchanged for its neighbour
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
Outputs = tuple[Tensor, ...]


class Walk:
    """A candidate for an op along one sweep; ``violation(size)`` is called for each size."""

    def __init__(self, op: Op, call: Callable[..., Any], sweep: Sweep, device: str) -> None:
        self.op, self.call, self.sweep, self.device = op, call, sweep, device

    def violation(self, size: int) -> str | None:
        """What is wrong at this size, None if nothing is."""
        rows = None
        if self.sweep.rows:
            rows = torch.arange(size, device=self.device) % DISTINCT
            inputs, (exact, bounds) = self._select_rows(self._few, rows), self._truth_of_few
            exact, bounds = _rows(exact, rows), _rows(bounds, rows)
        else:
            inputs = self.inputs(size)
            exact, bounds = self._truth(inputs)
        got = self._run(inputs)
        if error := self._error(inputs, got, exact, bounds):
            return error
        if rows is not None and size >= self.op.contract.batch_invariant > 0:
            return self._differing(got, _rows(self._alone, rows), "among so many")
        return self._exchanged(inputs, got, self._count(size))

    def inputs(self, size: int) -> Inputs:
        """The arguments of one size."""
        return (self.sweep.inputs or self.op.inputs)(self.sweep.at(size), self.device)

    @cached_property
    def _few(self) -> Inputs:
        return self.inputs(DISTINCT)

    @cached_property
    def _truth_of_few(self) -> tuple[Outputs, Outputs]:
        return self._truth(self._few)

    @cached_property
    def _alone(self) -> Outputs:
        """Each row among the fewest rows for which the contract promises the same bits."""
        few = torch.ones(int(self.op.contract.batch_invariant), dtype=torch.int64, device=self.device)
        each = [self._run(self._select_rows(self._few, row * few)) for row in range(DISTINCT)]
        return tuple(torch.stack([one[0] for one in output]) for output in zip(*each, strict=True))

    @cached_property
    def _by_row(self) -> tuple[str, ...]:
        """The given arguments that have a part of each row."""
        inputs_of_row: Inputs = {}
        for sweep in (sweep for sweep in self.op.sweeps if sweep.rows):
            inputs_of_row |= (sweep.inputs or self.op.inputs)(sweep.at(DISTINCT), "cpu")
        return tuple(
            name for name, value in inputs_of_row.items() if isinstance(value, Tensor) and len(value) == DISTINCT
        )

    def _count(self, size: int) -> int:
        """The number of independent rows; 0 if rows depend on each other or carry little information."""
        if not (self.sweep.rows or self.sweep.inputs):
            return 0
        axes = next((sweep.axes for sweep in self.op.sweeps if sweep.rows), ())
        counts = {self.sweep.at(size)[axis] for axis in axes}
        return counts.pop() if len(counts) == 1 else 0

    def _select_rows(self, inputs: Inputs, rows: Tensor) -> Inputs:
        return inputs | {name: inputs[name][rows] for name in self._by_row if name in inputs}

    def _run(self, inputs: Inputs) -> Outputs:
        with poisoned_outputs():
            return run(self.op, self.call, copies(inputs))

    def _truth(self, inputs: Inputs) -> tuple[Outputs, Outputs]:
        return run(self.op, self.op.reference, in_float64(inputs)), self.op.bound(**inputs)

    def _exchanged(self, inputs: Inputs, got: Outputs, count: int) -> str | None:
        """The same rows with every third neighbour exchanged."""
        if count < 2 or (self.sweep.rows and count % 2 == 0):  # whole blocks of rows show nothing new
            return None
        order = torch.arange(count, device=self.device)
        kept = order % EXCHANGED > 0
        order[~kept] = (order[~kept] - 1).abs()
        others = self._run(self._select_rows(inputs, order))
        for one, other in zip(got, others, strict=True):
            other[~kept] = one[~kept]
        return self._differing(got, others, "with other neighbours")

    def _differing(self, got: Iterable[Tensor], others: Iterable[Tensor], what: str) -> str | None:
        for name, one, other in zip(self.op.outputs, got, others, strict=False):
            places = (_bits(one) != _bits(other)).nonzero()
            if len(places):
                return f"{name}{places[0].tolist()} has other bits {what}"
        return None

    def _error(self, inputs: Inputs, got: Outputs, exact: Outputs, bounds: Outputs) -> str | None:
        if problems := output_problems(self.op, inputs, got, exact):
            return "; ".join(problems)
        for name, value, truth, tolerance in zip(self.op.outputs, got, exact, bounds, strict=False):
            ratios = error_ratios(value, truth, tolerance)
            if ratios.numel() and not ratios.max() <= 1:
                index = unravel_index(int(ratios.argmax()), ratios.shape)
                number, right = float(value[index]), float(truth[index])
                element = f"{name}{list(index)}"
                return f"{element} is {number:.6g}, exactly {right:.6g}, {float(ratios.max()):.3g} times the bound"
        return None


def _rows(outputs: Outputs, rows: Tensor) -> Outputs:
    return tuple(output[rows] for output in outputs)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(BITS[tensor.element_size()])
