"""The contexts of a call, recorded so that a call in another process has the same ones (standard library only)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_noted: list[Surrounding] = []


@dataclass(frozen=True)
class Surrounding:
    """A name known to both processes, a value as JSON, more arguments, and a callback for the child's records."""

    name: str
    value: Any = None
    tell: Callable[[Any], None] = lambda found: None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def enter(surrounding: Surrounding) -> None:
    """Add a context to all calls from now on."""
    _noted.append(surrounding)


def leave() -> None:
    """Remove the last context that was entered."""
    _noted.pop()


@contextmanager
def noted(name: str, value: Any = None, **more: Any) -> Iterator[None]:
    """A context in which calls have the surrounding of that name."""
    enter(Surrounding(name, value, **more))
    try:
        yield
    finally:
        leave()


def current() -> tuple[Surrounding, ...]:
    """The outermost first."""
    return tuple(_noted)
