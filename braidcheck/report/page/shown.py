"""Limits on the length of lists on a page; run.json has the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")

MAX_ROWS, MAX_ITEMS = 2_000, 300  # of the table of all verdicts, of any other list
MAX_OPS, MAX_CASES, MAX_FAILING = 100, 40, 10  # the latter two of an op


@dataclass(frozen=True)
class Shown(Generic[Item]):
    """The first of ``items``, and how many were left out."""

    items: Sequence[Item]
    left: int = 0

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def first(items: Sequence[Item], most: int) -> Shown[Item]:
    """At most ``most`` of ``items``, which are in order of interest."""
    return Shown(list(islice(items, most)), max(0, len(items) - most))
