"""What calls happen within, noted so that a call in another process happens within the same (standard library only)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_noted: list[Surrounding] = []


@dataclass(frozen=True)
class Surrounding:
    """A name that both processes know, a value as JSON, more arguments, and who is told what the other one found."""

    name: str
    value: Any = None
    tell: Callable[[Any], None] = lambda found: None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def enter(surrounding: Surrounding) -> None:
    """From now on calls happen within it, too."""
    _noted.append(surrounding)


def leave() -> None:
    """Calls no longer happen within the last one that was entered."""
    _noted.pop()


@contextmanager
def noted(name: str, value: Any = None, **more: Any) -> Iterator[None]:
    """Within it calls happen within the surrounding of that name."""
    enter(Surrounding(name, value, **more))
    try:
        yield
    finally:
        leave()


def current() -> tuple[Surrounding, ...]:
    """The outermost first."""
    return tuple(_noted)
