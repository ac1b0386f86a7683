"""Applies to a reference the casts that its contract permits and that it does not make itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from braidcheck.numerics.rounding import wide
from braidcheck.op import Op


def of_op(op: Op, inputs: Mapping[str, Any]) -> dict[str, torch.dtype]:
    """The permitted casts to 16 bits, by the name of the function whose result is rounded."""
    dtypes = {function: inputs[name].dtype for function, name in op.contract.result_casts.items()}
    return {function: dtype for function, dtype in dtypes.items() if dtype != torch.float32}


@contextmanager
def applied(casts: Mapping[str, torch.dtype]) -> Iterator[None]:
    """A context in which these functions of PyTorch round their results."""
    with _Casting(casts):
        yield


class _Casting(TorchFunctionMode):
    def __init__(self, casts: Mapping[str, torch.dtype]) -> None:
        super().__init__()
        self._casts = casts

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        dtype = self._casts.get(function.__name__)
        return result if dtype is None else wide(result.to(dtype))
