"""Running error analysis: a number and the error bound of its float32 computation, propagated through PyTorch
operations.

An error has two parts. One-sided errors add up in sums: float32 rounding, a tensor core's truncation. Errors of casts
are independent between elements and add up in the 2-norm (``rounding.independent``), until an element is used more than
once along an axis that is then summed. Second-order terms are neglected (forward running error analysis: Higham,
Accuracy and Stability of Numerical Algorithms, 2nd ed., ch. 3; Wilkinson 1986).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from braidcheck.numerics import rounding

TINY, SMALLEST = rounding.UNDERFLOW[torch.float32], 2.0**-149  # float32's smallest normal and smallest subnormal number
permitted: ContextVar[Mapping[str, torch.dtype]] = ContextVar("permitted", default=MappingProxyType({}))
# Float32 roundings of elementwise functions, including a GPU's approximate ones.
ROUNDINGS = {
    "add": 1, "sub": 1, "mul": 1, "square": 1, "div": 2, "reciprocal": 2, "sqrt": 2, "rsqrt": 2, "exp": 4, "exp2": 3,
    "log": 4, "sigmoid": 6, "silu": 7, "neg": 0, "abs": 0, "relu": 0, "maximum": 0, "minimum": 0, "clamp": 0,
    "clamp_min": 0, "clamp_max": 0, "where": 0, "tanh": 8, "erf": 8, "sin": 4, "cos": 4, "pow": 8,
    "log1p": 4, "expm1": 4, "log2": 4, "softplus": 8,
}  # fmt: skip
SAME_PLACE = (
    "reshape view flatten unflatten squeeze unsqueeze transpose permute t movedim chunk split unbind select narrow "
    "index_select contiguous clone detach flip roll gather take_along_dim"
)
JOINED = "cat stack concat"
CREATED = "new_full new_zeros new_ones new_empty full_like zeros_like ones_like empty_like"
PREDICATES = "eq ne lt le gt ge isnan isinf isfinite argmax argmin"  # results are bools or indices: they have no error
RULES: dict[str, Callable[..., Any]] = {}  # of functions that are not elementwise, by name
CASTS = {"float": torch.float32, "bfloat16": torch.bfloat16, "half": torch.float16, "double": torch.float32}
PARTS = "value", "linear", "sizes", "norm", "pending"


def _operator(name: str, is_right: bool = False) -> Callable[..., Any]:
    def operator(self: Approximate, *others: Any) -> Any:
        return _apply(name, getattr(torch, name), *((*others, self) if is_right else (self, *others)))

    return operator


@dataclass(frozen=True, eq=False)
class Approximate:
    """A tensor ``value`` in float64 that stands for one of ``dtype``, float32 or narrower. Its error is at most
    ``linear`` plus a sum of independent errors, whose sizes add up to ``sizes`` and whose 2-norm is ``norm``.
    ``pending`` is the error of a last rounding, which counts once the number is used.
    """

    value: Tensor
    linear: Tensor
    sizes: Tensor
    norm: Tensor
    pending: Tensor
    dtype: torch.dtype = torch.float32

    @classmethod
    def exact(cls, value: Tensor) -> Approximate:
        """An input, which is the same for kernel and reference."""
        linear, sizes, norm, pending = (torch.zeros_like(value, dtype=torch.float64) for _ in PARTS[1:])
        return cls(value.double(), linear, sizes, norm, pending, value.dtype)

    @classmethod
    def computed(cls, value: Tensor, linear: Tensor, sizes: Tensor, norm: Tensor) -> Approximate:
        """The result of an operation in float32."""
        linear, sizes, norm = (part.nan_to_num(nan=0.0) for part in (linear, sizes, norm))
        return cls(value, linear, sizes, norm, torch.zeros_like(value))

    @property
    def error(self) -> Tensor:
        """The error bound of the number before its last rounding."""
        return self.linear + rounding.independent(2 * self.sizes, self.norm)

    @property
    def shape(self) -> torch.Size:
        return self.value.shape

    @property
    def device(self) -> torch.device:
        return self.value.device

    def used(self) -> Approximate:
        """The number as an operand: its pending rounding now counts."""
        norm = (self.norm.square() + self.pending.square()).sqrt()
        return replace(self, sizes=self.sizes + self.pending, norm=norm, pending=torch.zeros_like(norm))

    def each(self, change: Callable[[Tensor], Any]) -> Any:
        """Apply ``change`` to value and errors; a tuple of numbers if it returns several tensors."""
        parts = [change(getattr(self, name)) for name in PARTS]
        if isinstance(parts[0], Tensor):
            return replace(self, **dict(zip(PARTS, parts, strict=True)))
        return tuple(replace(self, **dict(zip(PARTS, each, strict=True))) for each in zip(*parts, strict=True))

    def shared(self, shape: Sequence[int]) -> Approximate:
        """The number broadcast: copies of one error are no longer independent."""
        if tuple(self.shape) == tuple(shape):
            return self
        zero = torch.zeros_like(self.linear)
        alone = replace(self.used(), linear=self.used().error, sizes=zero, norm=zero)
        return alone.each(lambda part: part.expand(shape))

    def to(self, *what: Any, **options: Any) -> Approximate:
        """The number in another type, rounded if that is narrower; a device is ignored."""
        dtype = next((one for one in (*what, *options.values()) if isinstance(one, torch.dtype)), self.dtype)
        if not dtype.is_floating_point or dtype == torch.float64:
            dtype = torch.float32
        if rounding.ROUNDOFF[dtype] <= rounding.ROUNDOFF[self.dtype]:
            return replace(self, dtype=dtype)
        size = rounding.ROUNDOFF[dtype] * self.value.abs() + rounding.UNDERFLOW[dtype]
        return replace(self.used(), pending=torch.where(self.value == 0, 0.0, size).nan_to_num(nan=0.0), dtype=dtype)

    __add__, __sub__, __mul__, __truediv__, __matmul__ = map(_operator, ("add", "sub", "mul", "div", "matmul"))
    __radd__, __rmul__ = __add__, __mul__
    __rsub__, __rtruediv__ = _operator("sub", True), _operator("div", True)
    __pow__, __rpow__ = _operator("pow"), _operator("pow", True)
    __neg__, __lt__, __le__, __gt__, __ge__ = map(_operator, ("neg", "lt", "le", "gt", "ge"))

    def __getitem__(self, place: Any) -> Any:
        return self.each(lambda part: part[place])

    def __setitem__(self, place: Any, value: Any) -> None:
        value = value if isinstance(value, Approximate) else Approximate.exact(torch.as_tensor(value))
        for name in PARTS:
            getattr(self, name)[place] = getattr(value, name)

    def __len__(self) -> int:
        return len(self.value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(Tensor, name):
            raise AttributeError(name)
        own = getattr(Tensor, name)
        if not callable(own):
            return getattr(self.value, name)
        return partial(_apply, name, own, self)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Apply torch's functions to such numbers."""
        return _apply(function.__name__, function, *args, **(kwargs or {}))


def _apply(name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    name = {"multiply": "mul", "subtract": "sub", "true_divide": "div", "divide": "div"}.get(name, name)
    result = _applied(name, function, *args, **kwargs)
    return result.to(permitted.get()[name]) if name in permitted.get() else result


def _applied(name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if name in PREDICATES.split():
        return function(*(arg.value if isinstance(arg, Approximate) else arg for arg in args), **kwargs)
    if name in CASTS:
        return args[0].to(CASTS[name])
    if rule := RULES.get(name):
        return rule(*args, **kwargs)
    if name in SAME_PLACE.split():
        return args[0].each(lambda part: function(part, *args[1:], **kwargs))
    if name in CREATED.split():
        made = Approximate.exact(function(args[0].value, *args[1:], **kwargs))
        return replace(made, dtype=kwargs.get("dtype", args[0].dtype))
    if name in JOINED.split():
        return _joined(function, *args, **kwargs)
    if name not in ROUNDINGS:
        raise NotImplementedError(
            f"no bound is derived through {name}: give elementwise(f, x, roundings=n), or a bound"
        )
    return elementwise(partial(function, **kwargs), *args, roundings=ROUNDINGS[name])


def known(value: Any) -> Approximate:
    return value.used() if isinstance(value, Approximate) else Approximate.exact(value)


def elementwise(function: Callable[..., Tensor], *args: Any, roundings: float = 8) -> Approximate:
    """Apply an elementwise ``function`` that rounds ``roundings`` times; errors propagate by its derivative."""
    shape = torch.broadcast_shapes(*(arg.shape for arg in args if isinstance(arg, (Approximate, Tensor))))
    is_number = [isinstance(arg, Approximate) or (isinstance(arg, Tensor) and arg.is_floating_point()) for arg in args]
    numbers = [known(arg).shared(shape) for arg, one in zip(args, is_number, strict=True) if one]
    with torch.enable_grad():
        leaves = [number.value.detach().requires_grad_() for number in numbers]
        rest = iter(leaves)
        value = function(*(next(rest) if one else arg for arg, one in zip(args, is_number, strict=True)))
        slopes = torch.autograd.grad(value.sum(), leaves, allow_unused=True) if value.requires_grad else ()
    value = value.detach()
    is_exponential = roundings > 3  # intermediate results outside of float32's range become 0 or infinity
    linear = roundings * (rounding.U32 * value.abs() + (TINY if is_exponential else SMALLEST))
    sizes = norm = torch.zeros_like(value)
    for number, slope in zip(numbers, slopes, strict=False):
        if slope is not None:
            linear = linear + _times(slope, number.linear)
            if is_exponential:
                linear = linear + TINY * number.value.abs()
            sizes, norm = sizes + _times(slope, number.sizes), norm + _times(slope, number.norm)
    return Approximate.computed(value, linear, sizes, norm)


def _times(slope: Tensor, error: Tensor) -> Tensor:
    return torch.where(error == 0, 0.0, slope.abs() * error).nan_to_num(nan=0.0)


def _joined(function: Callable[..., Tensor], numbers: Sequence[Any], *args: Any, **kwargs: Any) -> Approximate:
    operands = [number if isinstance(number, Approximate) else Approximate.exact(number) for number in numbers]
    parts = [[getattr(number, name) for number in operands] for name in PARTS]
    joined = (function(part, *args, **kwargs) for part in parts)
    return replace(operands[0], **dict(zip(PARTS, joined, strict=True)))
