"""Records what a call computes in Triton kernels, and what with PyTorch outside of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from threading import Thread
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

from braidcheck.kernels.common import interpreter

# Operations that compute nothing: they allocate memory, or move, repeat or convert numbers.
MOVES = (
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "zeros", "zeros_like", "new_zeros",
    "ones", "ones_like", "full", "full_like", "new_full", "fill", "zero", "copy", "_to_copy", "clone", "cat", "stack",
    "index", "index_select", "index_put", "gather", "scatter", "repeat", "constant_pad_nd", "lift_fresh", "detach",
    "_local_scalar_dense", "set", "resize", "_reshape_copy", "_unsafe_view", "_pin_memory",
)  # fmt: skip


LEAVES = ("numpy", "tolist", "__array__", "__dlpack__")  # methods that pass the numbers to unwatched code


class Share(TorchDispatchMode):
    """A context that records operations with floating-point results; within ``counted()`` launches too."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = 0
        self.computed: dict[str, None] = {}
        self.left: dict[str, None] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and record its name if it computes."""
        result = function(*args, **(kwargs or {}))
        name = function._schema.name.split("::")[-1]
        moves = function.is_view or name.removesuffix("_") in MOVES
        if not moves and any(map(_is_floating, tree_leaves(result))):
            self.computed[name] = None
        return result


class Leaving(TorchFunctionMode):
    """A context that records, in a share, the methods by which floating-point numbers leave PyTorch."""

    def __init__(self, share: Share) -> None:
        super().__init__()
        self._share = share

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function and record its name if numbers leave."""
        name = getattr(function, "__name__", "")
        if name in LEAVES and args and _is_floating(args[0]):
            self._share.left[name] = None
        return function(*args, **(kwargs or {}))


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


@contextmanager
def counted() -> Iterator[Share]:
    """A context that records a call's launches and operations, including those of its threads and forks."""
    kind: Any = InterpretedFunction if interpreter.INTERPRETED else JITFunction
    share = Share()
    launch, fork, thread = kind.run, os.fork, Thread._bootstrap_inner  # type: ignore[attr-defined]

    @wraps(launch)
    def counted_launch(self: Any, *args: Any, **options: Any) -> Any:
        share.launches += 1
        return launch(self, *args, **options)

    def noted_fork() -> int:
        share.left["fork"] = None
        return fork()

    def watched_thread(self: Thread) -> None:
        inner = Share()
        inner.computed = share.computed
        with Leaving(share), inner:  # modes are per thread
            thread(self)

    kind.run, os.fork, Thread._bootstrap_inner = counted_launch, noted_fork, watched_thread  # type: ignore[attr-defined]
    try:
        with Leaving(share), share:
            yield share
    finally:
        kind.run, os.fork, Thread._bootstrap_inner = launch, fork, thread  # type: ignore[attr-defined]
