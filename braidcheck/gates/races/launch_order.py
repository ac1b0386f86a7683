"""Races between launches of one stream: accesses of a launch before it has waited for upstream launches.

A launch follows the one before it, all of whose writes it then sees, unless it uses programmatic dependent launch: then
it may begin as soon as every program of that one has called ``launch_dependents`` or has ended, which says nothing of
what was written. What its programs do before ``grid_dependency_wait`` is ordered only after launches that had ended
before the launch upstream let it start. So

- every program waits: the next launch, which waits for this one, takes the ones before it for ended;
- none stores before it waits: the allocator may give it memory that an upstream launch still reads;
- none loads before it waits what an upstream launch writes that may still run;
- each lets the next launch begin, which else gains nothing.

CUDA C++ Programming Guide, "Programmatic Dependent Launch"; PTX ISA, griddepcontrol.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from braidcheck.gates.races.accesses import ATOMIC, LOAD, Access, Launch, Program, span
from braidcheck.gates.races.addresses import Spans, within, written_spans

STABLE = (
    "weight",
    "cos_sin",
    "positions",
    "lengths",
    "k_cache",
    "v_cache",
)  # name endings of arguments that no upstream kernel writes


def launch_races(launches: Sequence[Launch]) -> Iterator[str]:
    """The races between these launches, which were made one after another in one stream."""
    written = [_written(launch) for launch in launches]
    ended = -1  # the last of the launches that have ended, with all before it, when the next one begins
    for number, launch in enumerate(launches):
        if not launch.pdl:
            ended = number - 1
        yield from _too_early(launch, [(launches[n], written[n]) for n in range(ended + 1, number)])
        if number:
            yield from _too_late(launch, launches[number - 1])
        if not launch.pdl or all(_triggers_after_waiting(program) for program in launch.programs):
            ended = number - 1


def counter_races(launches: Sequence[Launch]) -> Iterator[str]:
    """Counters that a launch does not reset, and that a later launch continues from."""
    counters: dict[int, tuple[int, str]] = {}
    for launch in launches:
        for start, end in launch.written:  # PyTorch's operation resets them
            counters = {address: row for address, row in counters.items() if not start <= address < end}
        here: dict[int, int] = {}
        for access in launch.accesses():
            if access.kind == ATOMIC:
                for address, value in zip(access.addresses.tolist(), access.values.tolist(), strict=True):
                    here.setdefault(address, value)
        for address, value in here.items():
            before, kernel = counters.setdefault(address, (value, launch.kernel))
            if value != before:
                yield f"{launch.kernel}: {launch.element(address)} is {value}, was {before} before {kernel}: not reset"


def upstream_of(inputs: Mapping[str, Any]) -> Launch:
    """A launch that has just written every tensor of an op's ``inputs``, except those that may be read early."""
    tensors = [(name, value) for name, value in inputs.items() if isinstance(value, Tensor) and value.numel()]
    spans = [span(name, value)[1:3] for name, value in tensors if not name.endswith(STABLE)]
    return Launch("the upstream launch", written=spans)


def _written(launch: Launch) -> Spans | None:
    if not launch.written:
        return written_spans(launch)
    starts, ends = np.array(sorted(launch.written)).T
    return starts, np.maximum.accumulate(ends)


def _triggers_after_waiting(program: Program) -> bool:
    if program.wait is None:
        return False
    return program.trigger is None or program.trigger > program.wait


def _too_early(launch: Launch, running: Sequence[tuple[Launch, Spans | None]]) -> Iterator[str]:
    """The first access of a launch that must wait for launches that may still be ``running``."""
    if not launch.pdl:
        return
    idle = [program.place for program in launch.programs if program.wait is None]
    if idle:
        count = f"{len(idle)} of {len(launch.programs)} programs"
        yield f"{launch.kernel}: {count}, {idle[0]} first, never wait for the upstream launches (grid_dependency_wait)"
    for access in launch.accesses():
        wait = launch.programs[access.program].wait
        if (wait is None or access.position < wait) and access.addresses.size:
            yield from _early(launch, access, running)


def _too_late(launch: Launch, upstream: Launch) -> Iterator[str]:
    """Why a launch with PDL can never start before ``upstream``, which uses PDL too, has ended."""
    silent = [program.place for program in upstream.programs if program.trigger is None]
    if launch.pdl and upstream.pdl and silent:
        count = f"{len(silent)} of {len(upstream.programs)} programs"
        yield f"{upstream.kernel}: {count} never let the next launch begin (launch_dependents): {launch.kernel}"


def _early(launch: Launch, access: Access, running: Sequence[tuple[Launch, Spans | None]]) -> Iterator[str]:
    place, addresses = launch.programs[access.program].place, access.addresses
    if access.kind != LOAD:
        element = launch.element(int(addresses[0]))
        yield f"{launch.kernel}: program {place} writes {element} before grid_dependency_wait, while others may use it"
        return
    for upstream, spans in running:
        if spans is None:
            continue
        hit = within(addresses, access.itemsize, spans)
        if hit.any():
            element = launch.element(int(addresses[hit][0]))
            yield (
                f"{launch.kernel}: program {place} loads {element} before grid_dependency_wait, while "
                f"{upstream.kernel} may still write it"
            )
