"""Other functions in place of the model's ops, everywhere or in some layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from types import ModuleType
from typing import Any

from braidcheck import kernels
from braidcheck.gates.under_test import defining_module

Function = Callable[..., Any]
Where = Callable[[str, int | None], bool]


def everywhere(op: str, layer: int | None) -> bool:
    """Swaps every call."""
    return True


def references() -> dict[str, Function]:
    """Each op's reference, by the op's name."""
    return {name: op.reference for name, op in kernels.find().items()}


@contextmanager
def swapped(engine: Any, functions: Mapping[str, Function], where: Where = everywhere) -> Iterator[Mapping[str, int]]:
    """Within, ``engine`` calls ``functions[op]`` instead of the op of that name, where ``where(op, layer)`` is true.

    ``layer`` is None outside of all decoder layers, as for the LM head. Gives the number of calls of each op so far,
    swapped or not. No decode step is recorded as a CUDA graph meanwhile, for a graph would outlive the swap.
    """
    calls: dict[str, int] = {}
    layer_of = {id(weights): index for index, weights in enumerate(engine.weights.layers)}
    within: list[int | None] = [None]
    whole, graphed = engine.layer, engine.graphed

    def layer(weights: Any, *args: Any, **options: Any) -> Any:
        within[0] = layer_of[id(weights)]
        try:
            return whole(weights, *args, **options)
        finally:
            within[0] = None

    def choose(name: str, own: Function, *args: Any, **options: Any) -> Any:
        calls[name] = calls.get(name, 0) + 1
        swap = name in functions and where(name, within[0])
        return (functions[name] if swap else own)(*args, **options)

    found = [(place, name, own) for place in _modules(engine) for name, own in _ops(place)]
    try:
        engine.layer, engine.graphed = layer, False
        for place, name, own in found:
            setattr(place, name, wraps(own)(partial(choose, name, own)))
        yield calls
    finally:
        del engine.layer
        engine.graphed = graphed
        for place, name, own in found:
            setattr(place, name, own)


def _modules(engine: Any) -> list[ModuleType]:
    """Where the engine and its attention look up the ops that they call."""
    return [defining_module(part) for part in (engine, engine.attention)]


def _ops(place: ModuleType) -> list[tuple[str, Function]]:
    return [(op, vars(place)[op]) for op in kernels.find() if callable(vars(place).get(op))]
