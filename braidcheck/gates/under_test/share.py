"""What a call does in Triton kernels, and what it computes with PyTorch outside of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

from braidcheck.kernels.common import interpreter

# Operations that compute nothing: they make memory, or move, repeat or convert numbers.
MOVES = (
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "zeros", "zeros_like", "new_zeros",
    "ones", "ones_like", "full", "full_like", "new_full", "fill", "zero", "copy", "_to_copy", "clone", "cat", "stack",
    "index", "index_select", "index_put", "gather", "scatter", "repeat", "constant_pad_nd", "lift_fresh", "detach",
    "_local_scalar_dense", "set", "resize", "_reshape_copy", "_unsafe_view", "_pin_memory",
)  # fmt: skip


class Share(TorchDispatchMode):
    """Within it and ``counted()``: the number of launches, and the operations that gave floating-point numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.launches, self.in_launch = 0, False
        self.computed: dict[str, None] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and note its name where it computes."""
        result = function(*args, **(kwargs or {}))
        name = function._schema.name.split("::")[-1]
        moves = function.is_view or name.removesuffix("_") in MOVES
        if not self.in_launch and not moves and any(map(_is_floating, tree_leaves(result))):
            self.computed[name] = None
        return result


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


@contextmanager
def counted() -> Iterator[Share]:
    """Within it a call's launches and operations are noted."""
    kind: Any = InterpretedFunction if interpreter.INTERPRETED else JITFunction
    share, plain = Share(), kind.run

    @wraps(plain)
    def run(self: Any, *args: Any, **options: Any) -> Any:
        share.launches, share.in_launch = share.launches + 1, True
        try:
            return plain(self, *args, **options)
        finally:
            share.in_launch = False

    kind.run = run
    try:
        with share:
            yield share
    finally:
        kind.run = plain
