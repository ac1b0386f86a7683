"""What every cell is given and returns, and the requests that several cells make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from braidcheck.engines.client import Client
from braidcheck.gates.surfaces import requests as plan
from braidcheck.gates.surfaces.ask import Asker, NotServed
from braidcheck.gates.surfaces.evidence import Outcome
from braidcheck.gates.surfaces.truth import Request, Text


@dataclass
class CellResult:
    """The result of a cell."""

    outcomes: list[Outcome] = field(default_factory=list)
    differing: int = 0
    compared: int = 0
    must_be_equal: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What cells need beside the engine and the golden's ``texts``. ``longest`` is the number of tokens that model and
    engine support; ``long_text(length)`` gives a Text of that length or raises NotServed, ``read(ids)`` a Text of any
    tokens; ``with_stop(token)`` starts an engine whose model has the stop token ``token``.
    """

    texts: list[Text]
    longest: int
    long_text: Callable[[int], Text]
    read: Callable[[Tensor], Text]
    with_stop: Callable[[int], Client]


CellFunction = Callable[[Asker, Surroundings], CellResult]


def result_of(outcomes: list[Outcome], why_none: str) -> CellResult:
    """The result with these outcomes. Raises NotServed, with the reason, if there are none."""
    if not outcomes:
        raise NotServed(why_none)
    return CellResult(outcomes)


def short_request(around: Surroundings, turn: int) -> Request:
    """A prompt of 24 tokens, for each ``turn`` another."""
    return plan.prompt_of(around.texts, min(24, around.longest), turn)


def long_request(around: Surroundings) -> Request:
    """The longest prompt in the text, up to a few hundred tokens."""
    length = min(700, len(around.texts[-1]), around.longest - plan.MAX_ANSWER)
    return plan.prompt_of(around.texts, length)
