"""Procedural documents whose probability is known exactly, so that perplexity has a floor.

A document is a stream of lines. Every random choice is drawn from a stated distribution and can be read back
from the text, so `nats` = -ln P(text) is exact and no model does better on average. What follows from earlier
text costs nothing and is marked as a probe, which a program can score.

A text ends at the first line's end past its length limit. That depends on the past alone and is not
announced, so a text is priced as the beginning of an endless stream: train on no end-of-text token.

    brief for Kel-dor                           header: size and owner
    set amber fox = q7k                         a grid of keys, each set once
    calc 37+48=85                               arithmetic
    nest ([]{|})                                brackets: after the bar, all that is open is closed
    tale Vin-sa asks Mar-lo for the tiny lamp.  copy: the second line follows from the first
    then Mar-lo gives Vin-sa the tiny lamp.
    reset amber fox = z0b                       a key gets a new value
    get amber fox ? z0b                         recall; overwrite if the key was reset
    sign Kel-dor                                copy of the owner, from the first line
"""

import math
import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from braidcheck.golden.words import ADJECTIVES, ANIMALS, FORENAMES, MEASURES, SURNAMES, THINGS

SPLITS = ("train", "heldout")
KINDS = ("recall", "overwrite", "copy", "arithmetic", "brackets")
PIECE = r"[0-9]|-[a-z]+| ?[A-Za-z]+| ?[^\sA-Za-z0-9]|\s"
"""Regular expression of the pieces of a text; nano's tokenizer keeps every one that occurs as one token."""

SIZES = {"brief": 0.75, "long": 0.25}
GRID = {"brief": (3, 4), "long": (8, 8)}
LIMITS = {"brief": (128, 720), "long": (2016, 2240)}
LINES = {"get": 0.36, "reset": 0.12, "calc": 0.15, "nest": 0.15, "tale": 0.17, "sign": 0.05}
SHALLOW = {"open": 0.75, "bar": 0.25}
NESTED = {"open": 0.45, "bar": 0.25, "close": 0.3}
BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">"}
TRADES = {"asks": "gives", "pays": "sells", "begs": "lends", "bids": "trades"}

LETTERS = "bcdfghjkmnpqrstvwxyz"
DIGITS = "0123456789"
_piece = re.compile(PIECE)


@dataclass(frozen=True)
class Probe:
    """A stretch of text that earlier text determines.

    `start` and `end` are character offsets of the answer; `distance` counts the tokens (pieces) back to what
    it takes: a value's or name's latest statement, the first operand, the outermost open bracket.
    """

    kind: str
    start: int
    end: int
    distance: int


@dataclass(frozen=True)
class Document:
    """A text, its -ln P(text) in nats, and its probes in order of their place."""

    text: str
    nats: float
    probes: tuple[Probe, ...]


class Stream:
    """A document under construction: its text, what its choices cost, and what it has stated where."""

    def __init__(self, seed: str):
        self._random = random.Random(seed).random
        self._places: list[int] = []
        self._counted = 0
        self._answers: list[tuple[str, int, int, int]] = []
        self.text = ""
        self.nats = 0.0
        self.owner = ("", 0)
        self.firsts: tuple[str, ...] = ()
        self.seconds: tuple[str, ...] = ()
        self.values: dict[tuple[str, str], tuple[str, int]] = {}
        self.renewed: set[tuple[str, str]] = set()

    def pick(self, options: Sequence[str]) -> str:
        """One of `options`, uniformly: costs ln(len(options))."""
        self.nats += math.log(len(options))
        return options[int(self._random() * len(options))]

    def weigh(self, chances: dict[str, float]) -> str:
        """One name, by its chance p (the chances sum to 1): costs -ln p."""
        place = bisect_right(list(accumulate(chances.values())), self._random())
        name = list(chances)[min(place, len(chances) - 1)]
        self.nats -= math.log(chances[name])
        return name

    def name(self) -> str:
        """A name of two syllables."""
        return f"{self.pick(FORENAMES)}-{self.pick(SURNAMES)}"

    def key(self) -> tuple[str, str]:
        """One of the document's keys."""
        return self.pick(self.firsts), self.pick(self.seconds)

    def state(self, verb: str, key: tuple[str, str]) -> None:
        """Write a line that gives `key` a new value."""
        value = self.pick(LETTERS) + self.pick(DIGITS) + self.pick(LETTERS)
        self.text += f"{verb} {key[0]} {key[1]} = "
        self.values[key] = (value, len(self.text))
        self.text += f"{value}\n"

    def answer(self, kind: str, text: str, source: int, after: str = "\n") -> int:
        """Write `text`, which follows from what begins at character `source`, and `after`; returns its start."""
        start = len(self.text)
        self.text += text + after
        self._answers.append((kind, start, start + len(text), source))
        return start

    def tokens(self) -> int:
        """Number of tokens so far; ask at a line's end."""
        self._places.extend(match.start() for match in _piece.finditer(self.text, self._counted))
        self._counted = len(self.text)
        return len(self._places)

    def probes(self) -> tuple[Probe, ...]:
        """The probes so far, their distances counted in tokens; ask after `tokens`."""
        before = partial(bisect_left, self._places)
        return tuple(
            Probe(kind, start, end, before(start) - before(source)) for kind, start, end, source in self._answers
        )


def _header(stream: Stream, size: str | None) -> str:
    """Write size and owner, then the grid of keys; returns the size. A size that is given costs no less."""
    drawn = stream.weigh(SIZES)
    if size and size != drawn:
        stream.nats += math.log(SIZES[drawn]) - math.log(SIZES[size])
    size = size or drawn
    stream.text += f"{size} for "
    stream.owner = (stream.name(), len(stream.text))
    stream.text += f"{stream.owner[0]}\n"
    rows, columns = GRID[size]
    for row in range(rows):
        stream.firsts += (stream.pick([word for word in ADJECTIVES if word not in stream.firsts]),)
        for column in range(columns):
            if row == 0:
                stream.seconds += (stream.pick([word for word in ANIMALS if word not in stream.seconds]),)
            stream.state("set", (stream.firsts[row], stream.seconds[column]))
    return size


def _get(stream: Stream) -> None:
    key = stream.key()
    value, source = stream.values[key]
    stream.text += f"get {key[0]} {key[1]} ? "
    start = stream.answer("overwrite" if key in stream.renewed else "recall", value, source)
    stream.values[key] = (value, start)


def _reset(stream: Stream) -> None:
    key = stream.key()
    stream.renewed.add(key)
    stream.state("reset", key)


def _sign(stream: Stream) -> None:
    name, source = stream.owner
    stream.text += "sign "
    stream.owner = (name, stream.answer("copy", name, source))


def _calc(stream: Stream) -> None:
    left, right = (stream.pick(DIGITS) + stream.pick(DIGITS) for _ in range(2))
    source = len(stream.text) + len("calc ")
    stream.text += f"calc {left}+{right}="
    stream.answer("arithmetic", f"{int(left) + int(right):03}", source)


def _nest(stream: Stream) -> None:
    source = len(stream.text) + len("nest")
    open_kinds = [stream.pick("([{<")]
    stream.text += f"nest {open_kinds[0]}"
    while (step := stream.weigh(NESTED if len(open_kinds) > 1 else SHALLOW)) != "bar":
        if step == "open":
            open_kinds.append(stream.pick("([{<"))
            stream.text += open_kinds[-1]
        else:
            stream.text += BRACKETS[open_kinds.pop()]
    stream.text += "|"
    stream.answer("brackets", "".join(BRACKETS[kind] for kind in reversed(open_kinds)) + "\n", source, after="")


def _tale(stream: Stream) -> None:
    verb, asker, asked = stream.pick(tuple(TRADES)), stream.name(), stream.name()
    thing = f"{stream.pick(MEASURES)} {stream.pick(THINGS)}"
    first = len(stream.text) + len("tale ")
    second = first + len(f"{asker} {verb} ")
    third = second + len(f"{asked} for the ")
    stream.text += f"tale {asker} {verb} {asked} for the {thing}.\nthen "
    stream.answer("copy", asked, second, f" {TRADES[verb]} ")
    stream.answer("copy", asker, first, " the ")
    stream.answer("copy", thing, third, ".\n")


WRITERS = {"get": _get, "reset": _reset, "calc": _calc, "nest": _nest, "tale": _tale, "sign": _sign}


def document(seed: int | str, split: str = "train", size: str | None = None, limit: int | None = None) -> Document:
    """The document of that seed and split; the text is the same on every Python.

    `size` ("brief" or "long") overrides the drawn one and is priced as if drawn. `limit` is the number of
    tokens past which the text ends with its line; absent, the seed gives one within LIMITS, at no cost.
    Raises ValueError on an unknown split or size.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    if size not in (None, *SIZES):
        raise ValueError(f"size {size!r} is not one of {', '.join(SIZES)}")
    stream = Stream(f"{split}/{seed}")
    size = _header(stream, size)
    if limit is None:
        low, high = LIMITS[size]
        limit = low + int(random.Random(f"{split}/{seed}/limit").random() * (high - low))
    while stream.tokens() < limit:
        WRITERS[stream.weigh(LINES)](stream)
    return Document(stream.text, stream.nats, stream.probes())
