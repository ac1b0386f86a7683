"""What trials of mutants say and what a kill matrix holds, as plain data (standard library only)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from braidcheck.environment import Fingerprint
from braidcheck.gates.coherence.evidence import Blame


class Task(TypedDict):
    """One trial: the package that holds the mutant, the gates to ask, and what to ask ``first``; limit in seconds. With
    ``witness`` no gate is asked, but for an input on which the ops differ."""

    id: str
    overlay: str
    ops: Sequence[str]
    gates: Sequence[str]
    first: str
    limit: float
    blame: bool
    witness: bool


class Result(TypedDict, total=False):
    """What a child says: how its work ended, or how far it is; ``seconds`` by gate, ``wall`` of all."""

    id: str
    outcome: str
    gate: str
    subject: str
    said: str
    seconds: dict[str, float]
    wall: float
    blame: Blame
    witness: str


class Row(TypedDict):
    """What became of one mutant; ``gates`` are the seconds spent on each.

    Of a survivor, ``witness`` says on which input it differs, or how one was sought; ``place`` is its file and line,
    ``diff`` the lines that it changes.
    """

    id: str
    kind: str
    part: str
    description: str
    bug: str
    outcome: str
    gate: str
    subject: str
    said: str
    seconds: float
    gates: Mapping[str, float]
    ops: NotRequired[Sequence[str]]
    blame: NotRequired[Blame]
    equivalent: NotRequired[str]
    family: NotRequired[str]
    witness: NotRequired[str]
    place: NotRequired[str]
    diff: NotRequired[Sequence[str]]


class Matrix(TypedDict):
    """A kill matrix: ``missing`` mutants have not met their gates yet, ``left_out`` were killed in another lane."""

    format: int
    lane: str
    blame: bool
    environment: Fingerprint
    seconds: float
    mutants: list[Row]
    missing: NotRequired[int]
    left_out: NotRequired[int]


class Smallest(TypedDict):
    """The smallest fault that is seen: None up to ``largest``; ``least`` was the first size of all.

    ``counts``: size, seen and tried of each size that took several seeds.
    """

    smallest: float | None
    least: float
    largest: float
    trials: int
    counts: list[list[float]]


class SizeRow(Smallest):
    """The same of one gate, op and kind of fault; ``on`` says what it was tried on."""

    gate: str
    op: str
    on: str
    fault: str
