"""The ops of a model as one table: a model is given its ops and imports none of them."""

from __future__ import annotations

import dataclasses
import importlib
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

Function = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class OpTable:
    """One function for each op, by the op's name, with the signature and result of the op's wrapper."""

    attention_decode: Function
    attention_prefill: Function
    decode_attention: Function
    cache_write: Function
    fused_attention: Function
    gate_up_silu: Function
    linear_residual: Function
    lm_head: Function
    qk_norm_rope: Function
    qkv_rope: Function
    rms_norm: Function
    rms_norm_qkv: Function
    sample: Function

    def replace(self, **functions: Function) -> OpTable:
        """The table with other functions for some ops. Raises TypeError for an unknown op."""
        return dataclasses.replace(self, **functions)

    def map(self, function: Callable[[str, Function], Function]) -> OpTable:
        """A table with ``function(name, op)`` for every op."""
        return type(self)(**{name: function(name, op) for name, op in vars(self).items()})

    def counted(self, calls: Counter[str]) -> OpTable:
        """The same table, counting each op's calls in ``calls``."""

        def count(name: str, op: Function) -> Function:
            @wraps(op)
            def counting(*args: Any, **options: Any) -> Any:
                calls[name] += 1
                return op(*args, **options)

            return counting

        return self.map(count)


def _kernel(name: str) -> Function:
    return getattr(importlib.import_module(f"braidcheck.kernels.{name}"), name)


def _reference(name: str) -> Function:
    return importlib.import_module(f"braidcheck.kernels.{name}.op").OP.reference


NAMES = [field.name for field in dataclasses.fields(OpTable)]
KERNELS = OpTable(**{name: _kernel(name) for name in NAMES})
REFERENCES = OpTable(**{name: _reference(name) for name in NAMES})
