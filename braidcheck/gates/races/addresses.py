"""Sets of bytes as sorted address ranges."""

from __future__ import annotations

import numpy as np

from braidcheck.gates.races.accesses import LOAD, Access, Launch

Spans = tuple[np.ndarray, np.ndarray]  # where runs of bytes begin and end


def spans(addresses: np.ndarray, itemsize: int) -> Spans:
    """Where runs of bytes begin and end, of elements of ``itemsize`` bytes at ``addresses``."""
    distinct = np.unique(addresses)
    gaps = np.flatnonzero(np.diff(distinct) > itemsize)
    return distinct[np.r_[0, gaps + 1]], distinct[np.r_[gaps, len(distinct) - 1]] + itemsize


def within(addresses: np.ndarray, itemsize: int, runs: Spans) -> np.ndarray:
    """Which of the elements at ``addresses`` share a byte with the ``runs``, which are sorted and disjoint."""
    starts, ends = runs
    nearest = np.searchsorted(starts, addresses + itemsize - 1, side="right") - 1
    return (nearest >= 0) & (addresses < ends[nearest])


def written_spans(launch: Launch) -> Spans | None:
    """The bytes that a launch of a kernel writes; None for nothing."""
    writes = [access for access in launch.accesses() if access.kind != LOAD and access.addresses.size]
    if not writes:
        return None
    sizes = {access.itemsize for access in writes}
    parts = [
        spans(np.concatenate([access.addresses for access in writes if access.itemsize == size]), size)
        for size in sizes
    ]
    starts, ends = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    order = np.argsort(starts)
    return starts[order], np.maximum.accumulate(ends[order])


def reaches(access: Access, runs: Spans) -> bool:
    """Whether an access touches a byte of the ``runs``."""
    low, high = access.addresses.min(), access.addresses.max() + access.itemsize
    near = np.searchsorted(runs[1], low, side="right")
    if near == len(runs[0]) or runs[0][near] >= high:
        return False
    return bool(within(access.addresses, access.itemsize, runs).any())
