"""Faults of a chosen size injected into one op: into its outputs, weights or positions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from braidcheck.numerics.calls import run
from braidcheck.op import Inputs, Op

SIZES = tuple(2.0**exponent for exponent in range(-32, 5))
OFFSETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


@dataclass(frozen=True)
class Fault:
    """One kind of fault: the sizes at which it is tried, and the side of the op that it changes. ``outputs(tensors,
    masks, size, generator)`` returns the outputs, changed only where the masks are true; ``inputs(kwargs, size,
    generator)`` returns the arguments. Size 0 changes nothing.
    """

    name: str
    sizes: Sequence[float] = SIZES
    outputs: Callable[[Sequence[Tensor], Sequence[Tensor], float, torch.Generator], list[Tensor]] | None = None
    inputs: Callable[[Inputs, float, torch.Generator], Inputs] | None = None
    needs: Callable[[Inputs], bool] = lambda kwargs: True


def noise(outputs: Sequence[Tensor], masks: Sequence[Tensor], size: float, generator: torch.Generator) -> list[Tensor]:
    """Every element times 1 + size * a standard normal number."""
    return [_scaled(out, mask, size * _normal(out, generator)) for out, mask in zip(outputs, masks, strict=True)]


def one_element(
    outputs: Sequence[Tensor], masks: Sequence[Tensor], size: float, generator: torch.Generator
) -> list[Tensor]:
    """One non-zero element of all outputs, times 1 + size."""
    open_to_it = [(mask & (out != 0)).flatten().nonzero()[:, 0] for out, mask in zip(outputs, masks, strict=True)]
    changed = [out.clone(memory_format=torch.contiguous_format) for out in outputs]
    total = sum(map(len, open_to_it))
    if total:
        number = int(torch.randint(total, (), generator=generator))
        for out, places in zip(changed, open_to_it, strict=True):
            if 0 <= number < len(places):
                flat = out.view(-1)
                flat[places[number]] = (flat[places[number]].double() * (1 + size)).to(out.dtype)
            number -= len(places)
    return changed


def weight_column(kwargs: Inputs, size: float, generator: torch.Generator) -> Inputs:
    """One column of one weight matrix, that of one input feature, times 1 + size."""
    names = _matrices(kwargs)
    name = names[int(torch.randint(len(names), (), generator=generator))]
    weight = kwargs[name].clone()
    column = int(torch.randint(weight.shape[1], (), generator=generator))
    weight[:, column] = (weight[:, column].double() * (1 + size)).to(weight.dtype)
    return kwargs | {name: weight}


def one_position(kwargs: Inputs, size: float, generator: torch.Generator) -> Inputs:
    """One token moved by ``size`` positions, backwards where the table or its cache ends."""
    positions, limit = kwargs["positions"].clone(), len(kwargs["cos_sin"])
    if "k_cache" in kwargs and "lengths" not in kwargs:  # there a position is a slot too
        limit = min(limit, kwargs["k_cache"].shape[1])
    token = int(torch.randint(len(positions), (), generator=generator))
    moved = int(positions[token]) + int(size)
    positions[token] = moved if moved < limit else max(0, moved - 2 * int(size))
    return kwargs | {"positions": positions}


def all_angles(kwargs: Inputs, size: float, generator: torch.Generator) -> Inputs:
    """Every angle of RoPE times 1 + size: the table turned further by size times its own angles."""
    cos, sin = kwargs["cos_sin"].double().chunk(2, dim=-1)
    if not size:
        return kwargs
    frequencies = torch.atan2(sin[1], cos[1])  # the angles at position 1 are below pi
    further = size * torch.arange(len(cos), device=cos.device)[:, None] * frequencies
    turned = [cos * further.cos() - sin * further.sin(), sin * further.cos() + cos * further.sin()]
    return kwargs | {"cos_sin": torch.cat(turned, dim=-1).to(kwargs["cos_sin"].dtype)}


FAULTS = (
    Fault("every element", outputs=noise),
    Fault("one element", outputs=one_element),
    Fault("weight column", inputs=weight_column, needs=lambda kwargs: bool(_matrices(kwargs))),
    Fault("one position", OFFSETS, inputs=one_position, needs=lambda kwargs: "cos_sin" in kwargs),
    Fault("all angles", inputs=all_angles, needs=lambda kwargs: "cos_sin" in kwargs),
)


def written(op: Op, before: Mapping[str, Any], outputs: Sequence[Tensor]) -> list[Tensor]:
    """Masks of the numbers that this call wrote: for arguments changed in place only the changed elements."""
    masks = [out.isfinite() & torch.tensor(out.is_floating_point(), device=out.device) for out in outputs]
    returned = len(outputs) - len(op.contract.mutates)
    for number, name in enumerate(op.contract.mutates, returned):
        masks[number] &= before[name] != outputs[number]
    return masks


def injected(op: Op, function: Callable[..., Any], fault: Fault, size: float, seed: int) -> Callable[..., Any]:
    """``function``, called like ``op``, with ``fault`` of ``size`` in every call.

    A weight or a token has its fault in every call, as a broken kernel has; noise is drawn again each time.
    """
    signature, drawn = inspect.signature(op.call), torch.Generator().manual_seed(seed)

    @wraps(op.call)
    def faulty(*args: Any, **options: Any) -> Any:
        kwargs = dict(signature.bind(*args, **options).arguments)
        if fault.inputs is not None:
            return function(**fault.inputs(kwargs, size, torch.Generator().manual_seed(seed)))
        assert fault.outputs  # a fault has one side or the other
        before = kwargs | {name: kwargs[name].clone() for name in op.contract.mutates}
        outputs = run(op, function, kwargs)
        changed = fault.outputs(outputs, written(op, before, outputs), size, drawn)
        for name, value in zip(op.contract.mutates, changed[len(changed) - len(op.contract.mutates) :], strict=True):
            kwargs[name].copy_(value)
        returned = tuple(changed[: len(changed) - len(op.contract.mutates)])
        return returned if len(returned) > 1 else returned[0] if returned else None

    return faulty


def _matrices(kwargs: Inputs) -> list[str]:
    return [
        name for name, value in kwargs.items() if name.endswith("weight") and value is not None and value.dim() == 2
    ]


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device)


def _scaled(out: Tensor, mask: Tensor, by: Tensor) -> Tensor:
    # Where nothing may change the bits stay, NaN included.
    return torch.where(mask, (out.double() * (1 + by)).to(out.dtype), out)
