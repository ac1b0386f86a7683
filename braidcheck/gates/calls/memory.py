"""Fills uninitialised memory with a large finite number, or with what an earlier call left there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from braidcheck.isolation.surroundings import Surrounding, enter, leave

UNINITIALISED = (torch.empty, torch.empty_like, torch.empty_strided, Tensor.new_empty)
FINITE = 2.0**100  # a GPU's max drops NaN, so garbage must also be a number
FINITE_FLOAT16 = 2.0**15
INTEGER = 77


def finite(tensor: Tensor) -> float:
    """A large finite number of the tensor's dtype; for an integer type a plausible index."""
    if not tensor.is_floating_point():
        return INTEGER
    return FINITE_FLOAT16 if tensor.dtype == torch.float16 else FINITE


class Garbage(TorchFunctionMode):
    """A context in which uninitialised memory holds a large finite number. With ``earlier`` it holds the final contents
    of that call's memory, as a caching allocator returns it: the most plausible garbage.
    """

    def __init__(self, earlier: Garbage | None = None) -> None:
        super().__init__()
        self.earlier = earlier
        self.made: list[Tensor] = []

    def __enter__(self) -> Garbage:
        """Enter it, and note it for a function that runs in another process."""
        enter(Surrounding("earlier memory", [id(self), id(self.earlier) if self.earlier else None]))
        super().__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        """Leave it."""
        super().__exit__(*failure)
        leave()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Fill what a function of UNINITIALISED allocates; all other calls pass through."""
        made = function(*args, **(kwargs or {}))
        if function in UNINITIALISED:
            made.copy_(self._before(made))
            self.made.append(made)
        return made

    def _before(self, made: Tensor) -> Tensor:
        number = len(self.made)
        if self.earlier and number < len(self.earlier.made):
            old = self.earlier.made[number]
            if (old.shape, old.dtype, old.device) == (made.shape, made.dtype, made.device):
                return old
        return torch.full_like(made, finite(made))
