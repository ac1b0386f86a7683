"""Bounds that read like references.

``derived(reference)`` is a bound: it runs the reference on ``Approximate`` numbers, of which every operation adds its
own rounding and propagates its operands' errors by its derivative. A rounding to a narrower type in the reference,
``x.to(weight.dtype)``, is a cast point of the contract. The last rounding of an output is in no bound. The other
functions are building blocks for a hand-written bound: ``bounds.dot(bounds.cast(bounds.norm(bounds.exact(x), w, eps),
torch.bfloat16), weight).error``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from braidcheck.numerics import rounding
from braidcheck.numerics.approximate import RULES, Approximate, elementwise, known, permitted

__all__ = "amax", "cast", "derived", "dot", "elementwise", "exact", "linear", "mean", "norm", "softmax", "sum"
exact = Approximate.exact


def derived(
    reference: Callable[..., Any], mutates: Sequence[str] = (), casts: Mapping[str, str] = MappingProxyType({})
) -> Callable[..., tuple[Tensor, ...]]:
    """A bound derived from the reference: for its results and for the arguments that it changes (``mutates``). The
    contract may have further cast points: ``casts`` names functions of PyTorch, and for each the argument to whose
    dtype the result may be rounded.
    """

    def bound(**inputs: Any) -> tuple[Tensor, ...]:
        token = permitted.set({function: inputs[name].dtype for function, name in casts.items()})
        try:
            return _bound(inputs)
        finally:
            permitted.reset(token)

    def _bound(inputs: Mapping[str, Any]) -> tuple[Tensor, ...]:
        arguments = {
            name: Approximate.exact(value.clone()) if isinstance(value, Tensor) and value.is_floating_point() else value
            for name, value in inputs.items()
        }
        computed = reference(**arguments)
        outputs = () if computed is None else computed if isinstance(computed, tuple) else (computed,)
        return tuple(_error(one) for one in (*outputs, *(arguments[name] for name in mutates)))

    return bound


def _error(output: Any) -> Tensor:
    return output.error if isinstance(output, Approximate) else torch.zeros_like(output, dtype=torch.float64)


def sum(x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Approximate:
    """The sum over ``dim``, in float32 and any order."""
    x = known(x)
    add = partial(torch.sum, dim=dim, keepdim=keepdim)
    value, count = add(x.value), x.value.numel() / max(1, add(x.value).numel())
    linear = add(x.linear) + rounding.sum_error(max(1, int(count))) * add(x.value.abs())
    return Approximate.computed(value, linear, add(x.sizes), add(x.norm.square()).sqrt())


def mean(x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Approximate:
    """The mean over ``dim``."""
    x = known(x)
    total = sum(x, dim, keepdim)
    share = total.value.numel() / max(1, x.value.numel())
    return elementwise(lambda part: part * share, total, roundings=1)


def amax(x: Any, dim: Any = None, keepdim: bool = False) -> Approximate:
    """The maximum over ``dim``: its error is at most the largest of the elements' errors."""
    largest = partial(torch.amax, dim=dim if dim is not None else (), keepdim=keepdim)
    x = known(x)
    zero = torch.zeros_like(largest(x.value))
    return Approximate.computed(largest(x.value), largest(x.error), zero, zero)


def logsumexp(x: Any, dim: int = -1, keepdim: bool = False) -> Approximate:
    """log(sum exp(x)) over ``dim``: errors of the scores s move it by sum_j p_j ds_j, to first order. The maximum m and
    the logarithm of sum_j exp(s_j - m) are rounded each, so where they cancel, by their own sizes."""
    x = known(x)
    value = torch.logsumexp(x.value, dim, keepdim)
    p = torch.softmax(x.value, dim).nan_to_num(nan=0.0)
    finite = x.value.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    top = finite.new_zeros(()) if not x.shape[dim] else x.value.amax(dim, keepdim=True)
    top = top.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    moved = x.linear + rounding.U32 * 3 * (finite.abs() + (finite - top).abs())
    largest = top if keepdim or not top.dim() else top.squeeze(dim)
    parts = largest.abs() + (value.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0) - largest).abs()
    linear = (p * moved).sum(dim, keepdim) + rounding.sum_error(max(1, x.shape[dim])) + 4 * rounding.U32 * (1 + parts)
    sizes, norm = (p * x.sizes).sum(dim, keepdim), (p * x.norm).square().sum(dim, keepdim).sqrt()
    return Approximate.computed(value, linear, sizes, norm)


def softmax(x: Any, dim: int = -1, **_: Any) -> Approximate:
    """Softmax over ``dim``: errors of the scores s move p_j by p_j (ds_j - sum_i p_i ds_i), to first order."""
    x = known(x)
    p = torch.softmax(x.value, dim).nan_to_num(nan=0.0)
    finite = x.value.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    top = x.value.amax(dim, keepdim=True) if x.shape[dim] else x.value.sum(dim, keepdim=True)
    top = top.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    hidden = x.value == -math.inf
    scores = torch.where(hidden, 0.0, x.linear + rounding.U32 * 3 * (finite.abs() + (finite - top).abs()))
    total = rounding.sum_error(x.shape[dim]) + 4 * rounding.U32
    linear = p * (scores + (p * scores).sum(dim, keepdim=True) + total)
    sizes = p * (x.sizes + (p * x.sizes).sum(dim, keepdim=True))
    norm = p * (x.norm + (p * x.norm).square().sum(dim, keepdim=True).sqrt())
    return Approximate.computed(torch.softmax(x.value, dim), linear, sizes, norm)


def dot(x: Any, weight: Any) -> Approximate:
    """``x @ weight``, accumulated in float32 by tensor cores."""
    return _products(torch.matmul, x, weight, x.shape[-1])


def _products(multiply: Callable[[Tensor, Tensor], Tensor], one: Any, other: Any, length: int) -> Approximate:
    one, other = known(one), known(other)
    a, b = one.value.abs(), other.value.abs()
    linear = multiply(one.linear, b) + multiply(a, other.linear) + rounding.dot_error(multiply(a, b), length)
    sizes = multiply(one.sizes, b) + multiply(a, other.sizes)
    norm = multiply(one.norm.square(), b.square()) + multiply(a.square(), other.norm.square())
    return Approximate.computed(multiply(one.value, other.value), linear, sizes, norm.sqrt())


def _einsum(equation: str, one: Any, other: Any) -> Approximate:
    terms, result = equation.replace(" ", "").split("->")
    axes: dict[str, int] = {}
    for term, operand in zip(terms.split(","), (known(one), known(other)), strict=True):
        named = term.removeprefix("...")
        axes |= dict(zip(named, operand.shape[operand.value.dim() - len(named) :], strict=True))
    length = math.prod(size for axis, size in axes.items() if axis not in result)
    return _products(partial(torch.einsum, equation), one, other, max(1, length))


def linear(x: Any, weight: Any, bias: Any = None) -> Approximate:
    """``x @ weight.T + bias``."""
    product = _products(torch.nn.functional.linear, x, weight, x.shape[-1])
    return product if bias is None else product + bias


def norm(x: Any, weight: Any = None, eps: float = 0.0) -> Approximate:
    """RMSNorm over the last axis, with a weight."""
    x = known(x)
    y = x * torch.rsqrt(mean(x * x, -1, True) + eps)
    return y if weight is None else y * weight


def cast(x: Any, dtype: torch.dtype) -> Approximate:
    """``x`` rounded to ``dtype``."""
    return known(x).to(dtype)


def _fill(x: Any, mask: Tensor, value: float) -> Approximate:
    x = known(x)
    parts = (part.masked_fill(mask, 0.0) for part in (x.linear, x.sizes, x.norm))
    return Approximate.computed(x.value.masked_fill(mask, value), *parts)


def _gelu(x: Any, approximate: str = "none") -> Approximate:
    """GELU as commonly computed. Far below zero 1 + tanh or 1 + erf cancels, even in float64: a bound on the relative
    error would fail every implementation."""
    x = known(x)
    inner = (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi) if approximate == "tanh" else x * math.sqrt(0.5)
    shape = torch.tanh(inner) if approximate == "tanh" else torch.erf(inner)
    return x * 0.5 * (shape + 1.0)


RULES |= {
    "sum": sum, "mean": mean, "amax": amax, "softmax": softmax, "logsumexp": logsumexp, "matmul": dot, "mm": dot,
    "linear": linear, "einsum": _einsum, "masked_fill": _fill, "gelu": _gelu, "to": Approximate.to,
    "type_as": lambda x, other: x.to(other.dtype),
    "is_floating_point": lambda x: True,
}  # fmt: skip
