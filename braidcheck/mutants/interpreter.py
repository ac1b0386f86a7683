"""The interpreter's state before braidcheck mends it, so that a trial can start from there."""

from __future__ import annotations

from typing import Any

State = list[tuple[type, dict[str, Any]]]


def state() -> State:
    """The attributes of the interpreter's classes that braidcheck replaces; to be taken before it is imported."""
    from triton.runtime.interpreter import InterpretedFunction, InterpreterBuilder

    return [(owner, dict(vars(owner))) for owner in (InterpreterBuilder, InterpretedFunction)]


def restore(before: State) -> None:
    """Put the attributes back."""
    for owner, attributes in before:
        for name in set(vars(owner)) - set(attributes):
            delattr(owner, name)
        for name, value in attributes.items():
            if vars(owner).get(name) is not value:
                setattr(owner, name, value)
