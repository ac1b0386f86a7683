"""Races within a launch: unordered accesses to the same bytes by two programs, or by two threads of one.

What orders two programs is an atomic of each on one address, which releases in the one and acquires in the other. A
program is many threads, and its scalar atomic is made by one of them:

- A release publishes the accesses before a ``tl.debug_barrier()`` that precedes the atomic. Triton promised no barrier
  there: an atomic does not synchronise the threads of a program (triton-lang/triton#4504 and #6307, which put the
  explicit barrier into tutorial 05, layer norm). Since #10816, of July 2026, it does; older versions are supported too.
- An acquire by a scalar atomic orders all that follows: its result goes to the other threads through shared memory,
  with a barrier (#7125). One of a tensor of pointers does not: there a barrier must follow.
- A plain store to the address ends what was released through it.

Everything is evaluated in the order in which the interpreter ran the programs; other orders are other recordings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from braidcheck.gates.races.accesses import ATOMIC, LOAD, STORE, Access, Launch, Program
from braidcheck.gates.races.addresses import reaches, written_spans

RELEASE, ACQUIRE = ("RELEASE", "ACQUIRE_RELEASE"), ("ACQUIRE", "ACQUIRE_RELEASE")
VERBS = {LOAD: "loads", STORE: "stores", ATOMIC: "updates"}
# Per program the position before which its accesses have happened, apart for its atomics: a release is made by the very
# thread that makes the atomics before it.
Known = dict[tuple[int, bool], int]


@dataclass(frozen=True)
class Race:
    """Two unordered accesses to ``address``, in execution order, and what is ``missing``."""

    launch: Launch
    first: Access
    second: Access
    address: int
    missing: str

    def __str__(self) -> str:
        one, other = (self.launch.programs[access.program].place for access in (self.first, self.second))
        element, (what, then) = self.launch.element(self.address), (VERBS[a.kind] for a in (self.first, self.second))
        who = f"program {one} {what} {element} and program {other} {then} it"
        if self.first is self.second:
            who = f"program {one} stores {element} twice in one store"
        elif self.first.program == self.second.program:
            who = f"program {one} {what} {element} and then {then} it"
        return f"{self.launch.kernel}: {who}: {self.missing}"


def races(launch: Launch) -> Iterator[Race]:
    """The races of one launch, one per pair of accesses."""
    accesses = _to_written_bytes(launch)
    if not accesses:
        return
    known = _Knowledge(launch)
    for one, other, address in _overlapping(accesses):
        first, second = accesses[min(one, other)], accesses[max(one, other)]  # in execution order
        if missing := _missing(launch, known, first, second):
            yield Race(launch, first, second, address, missing)


def _missing(launch: Launch, known: _Knowledge, first: Access, second: Access) -> str:
    """Why two accesses to the same bytes are unordered; empty if they are ordered."""
    kinds = {first.kind, second.kind}
    if first.program == second.program:
        return _missing_within(launch.programs[first.program], first, second)
    if kinds == {ATOMIC}:
        if "CTA" in (first.scope, second.scope):
            return "the atomic's scope is one program (cta)"
        return "the order of float additions changes their sum" if first.is_float_add else ""
    if kinds == {LOAD} or known.at(second).get((first.program, first.kind == ATOMIC), 0) > first.position:
        return ""
    return known.reason(first, second)


def _missing_within(program: Program, first: Access, second: Access) -> str:
    if first is second:
        return "two threads store different values"
    if (first.kind, second.kind) != (STORE, LOAD) or _synchronised(program, first.position, second.position):
        return ""
    return "no barrier between the store and the load, which other threads may make"


def _synchronised(program: Program, begin: int, end: int) -> bool:
    """Whether all threads of a program synchronise between two positions: in a barrier, or in that of a scalar
    atomic."""
    meetings = [*program.barriers, *(a.position for a in program.accesses if a.kind == ATOMIC and not a.is_tile)]
    return any(begin < position < end for position in meetings)


class _Knowledge:
    """Happens-before: what each program knows of the others, by its acquires."""

    def __init__(self, launch: Launch) -> None:
        self.programs = launch.programs
        self.acquired: dict[int, list[tuple[int, Known]]] = defaultdict(list)
        released: dict[int, Known] = {}
        words = {int(address) for a in launch.accesses() if a.kind == ATOMIC for address in a.addresses}
        for access in launch.accesses() if words else ():
            touched = access.addresses if access.kind == ATOMIC or access.addresses.size < 8 else ()
            for address in words.intersection(map(int, touched)):
                if access.kind == ATOMIC:
                    self._synchronise(access, released.setdefault(address, {}))
                elif access.kind == STORE:
                    released.pop(address, None)

    def _synchronise(self, access: Access, released: Known) -> None:
        program = self.programs[access.program]
        if access.sem in ACQUIRE and access.scope != "CTA" and released:
            at = access.position
            if access.is_tile:
                at = next((b for b in program.barriers if b > at), program.length)
            self.acquired[access.program].append((at, dict(released)))
        if access.sem in RELEASE and access.scope != "CTA":
            for key, position in self.at(access, included=True).items():
                released[key] = max(position, released.get(key, 0))
            released[access.program, False] = max((b for b in program.barriers if b < access.position), default=0)
            released[access.program, True] = access.position + 1

    def at(self, access: Access, included: bool = False) -> Known:
        """What has happened in other programs before ``access``; with ``included`` also by its own acquire."""
        merged: Known = {}
        for at, released in self.acquired[access.program]:
            if at < access.position + included:
                merged |= {key: max(position, merged.get(key, 0)) for key, position in released.items()}
        return merged

    def reason(self, first: Access, second: Access) -> str:
        """Why ``first`` does not happen before ``second``, which is in another program."""
        what, then = ({LOAD: "load", STORE: "store", ATOMIC: "atomic"}[access.kind] for access in (first, second))
        writer, reader = self.programs[first.program], self.programs[second.program]
        after = [a for a in writer.accesses if a.kind == ATOMIC and a.position > first.position]
        earlier = [a for a in reader.accesses if a.kind == ATOMIC and a.position < second.position]
        if not after:
            return f"no atomic follows the {what}"
        if not earlier:
            return f"no atomic precedes the {then} of the other program"
        atomic, other = after[0], earlier[-1]
        if "CTA" in (atomic.scope, other.scope):
            return "the atomic's scope is one program (cta)"
        if atomic.sem not in RELEASE:
            return f"the atomic after the {what} does not release ({atomic.sem.lower()})"
        if other.sem not in ACQUIRE:
            return f"the atomic before the {then} does not acquire ({other.sem.lower()})"
        if not any(first.position < barrier < atomic.position for barrier in writer.barriers):
            return f"no barrier between the {what} and the atomic"
        if other.is_tile and not any(other.position < barrier < second.position for barrier in reader.barriers):
            return f"no barrier between the atomic and the {then}"
        return f"the atomics after the {what} and before the {then} are on other addresses"


def _to_written_bytes(launch: Launch) -> list[Access]:
    """All accesses to bytes that the launch writes, restricted to those bytes."""
    runs = written_spans(launch)
    if runs is None:
        return []
    accesses = []
    for access in launch.accesses():
        if access.kind != LOAD or (access.addresses.size and reaches(access, runs)):
            accesses.append(access)
    return [access for access in accesses if access.addresses.size]


def _overlapping(accesses: list[Access]) -> Iterator[tuple[int, int, int]]:
    """Pairs of accesses, by their numbers, of which one writes what the other touches, and one address of each pair.

    Two stores of the same bits are no pair.
    """
    unit, number, value = _table(accesses)
    kind = np.array([access.kind for access in accesses])
    program = np.array([access.program for access in accesses])
    overlapping: dict[tuple[int, int], int] = {}
    for distance in range(1, len(unit)):
        same = unit[distance:] == unit[:-distance]
        if not same.any():
            break
        left, right = number[:-distance][same], number[distance:][same]
        kinds = kind[left], kind[right]
        differ = value[:-distance][same] != value[distance:][same]
        within_one = program[left] == program[right]
        matters = (kinds[0] != LOAD) | (kinds[1] != LOAD)
        matters &= differ | (kinds[0] != STORE) | (kinds[1] != STORE)
        matters &= ~within_one | (left == right) | (kinds[0] != kinds[1])
        matters &= (left != right) | (kinds[0] == STORE)
        at = unit[:-distance][same][matters]
        for pair, where in zip(zip(left[matters].tolist(), right[matters].tolist(), strict=True), at, strict=True):
            overlapping.setdefault(pair, int(where))
    for (left_one, right_one), where in overlapping.items():
        yield left_one, right_one, where


def _table(accesses: list[Access]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By address: the unit of memory, the number of the access and the bits it stores, of all units touched twice."""
    lowest = int(np.bitwise_or.reduce([np.bitwise_or.reduce(a.addresses) | a.itemsize for a in accesses]))
    size = lowest & -lowest  # the largest power of two that divides every address and element
    units, numbers, values = [], [], []
    for number, access in enumerate(accesses):
        parts = np.arange(0, access.itemsize, size)
        units.append((access.addresses[:, None] + parts).ravel())
        numbers.append(np.full(len(units[-1]), number))
        values.append(np.repeat(access.values, len(parts)))
    unit, number, value = np.concatenate(units), np.concatenate(numbers), np.concatenate(values)
    order = np.argsort(unit, kind="stable")
    unit, number, value = unit[order], number[order], value[order]
    again = unit[1:] == unit[:-1]
    kept = np.r_[again, False] | np.r_[False, again]
    return unit[kept], number[kept], value[kept]
