"""Named contexts around a call, which are recreated in the process where a user's function runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

Call = Callable[..., Any]
MAX_KEPT = 8  # of earlier memory

_garbage: dict[int, Any] = {}


def within(call: Call, names: Sequence[tuple[str, Any]], results: list[Any]) -> Call:
    """``call`` within the surroundings of these names and values; ``results`` gets, for each, what it is asked for."""

    def surrounded(**kwargs: Any) -> Any:
        arguments = {name: value for name, value in kwargs.items() if not name.startswith(".")}
        more = {name[1:]: value for name, value in kwargs.items() if name not in arguments}
        inner, after = call, {}
        with ExitStack() as stack:
            for number, (name, value) in enumerate(names):
                if name in INSTEAD:
                    inner = partial(INSTEAD[name], inner, partial(results.__setitem__, number), more)
                else:
                    after[number] = name, stack.enter_context(AROUND[name](value, arguments))
            returned = inner(**arguments)
        for number, (name, entered) in after.items():
            results[number] = RESULT_OF[name](entered) if name in RESULT_OF else None
        return returned

    return surrounded


def _poisoned(finite: bool, _: Mapping[str, Any]) -> AbstractContextManager[None]:
    from braidcheck.numerics.calls import poisoned_outputs

    return poisoned_outputs(finite)


@contextmanager
def _red_zones(_: Any, __: Mapping[str, Any]) -> Iterator[None]:
    from braidcheck.gates.fence.measure import RedZones

    with RedZones() as red_zones:
        yield
    red_zones.check()


def _last_program_first(_: Any, __: Mapping[str, Any]) -> AbstractContextManager[None]:
    from braidcheck.gates.under_test.interpreter import last_program_first

    return last_program_first()


def _earlier_memory(value: tuple[int, int | None], _: Mapping[str, Any]) -> AbstractContextManager[Any]:
    from braidcheck.gates.calls.memory import Garbage

    own, earlier = value
    _garbage[own] = Garbage(_garbage.get(earlier) if earlier else None)
    for old in list(_garbage)[:-MAX_KEPT]:
        del _garbage[old]
    return _garbage[own]


def _launches(size: int, _: Mapping[str, Any]) -> AbstractContextManager[Any]:
    from braidcheck.gates.sizes.launches import instead_of_running

    return instead_of_running(size)


def _launch_rows(launches: Sequence[Any]) -> list[Any]:
    return [[repr(launch.code), list(launch.grid), repr(launch.compiled)] for launch in launches]


def _share(_: Any, __: Mapping[str, Any]) -> AbstractContextManager[Any]:
    from braidcheck.gates.under_test.share import counted

    return counted()


def _share_row(share: Any) -> list[Any]:
    return [share.launches, list(share.computed), list(share.left)]


def _late(_: Any, arguments: Mapping[str, Any]) -> AbstractContextManager[None]:
    from braidcheck.gates.calls.streams import late_arguments

    return late_arguments(arguments)


def _race(call: Call, tell: Callable[[Any], None], _: Mapping[str, Any], **arguments: Any) -> None:
    from braidcheck.gates.races.measure import call_race

    tell(call_race(partial(call, **arguments), arguments))


def _replayed(call: Call, _: Callable[[Any], None], captured: Mapping[str, Any], **arguments: Any) -> Any:
    from braidcheck.gates.calls.streams import replayed

    return replayed(call, captured, arguments)


AROUND: dict[str, Callable[[Any, Mapping[str, Any]], AbstractContextManager[Any]]] = {
    "poisoned outputs": _poisoned,
    "red zones": _red_zones,
    "last program first": _last_program_first,
    "earlier memory": _earlier_memory,
    "launches": _launches,
    "late arguments": _late,
    "share": _share,
}
RESULT_OF = {"launches": _launch_rows, "share": _share_row}
INSTEAD: dict[str, Callable[..., Any]] = {"race": _race, "replayed": _replayed}
