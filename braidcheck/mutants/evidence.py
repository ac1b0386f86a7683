"""The results of mutant trials and the kill matrix, as plain data (standard library only)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from braidcheck.environment import Fingerprint
from braidcheck.gates.coherence.evidence import Blame


class Task(TypedDict):
    """One trial: the mutated package, the gates to run, and which subject to run ``first``; limit in seconds. With
    ``witness`` it runs no gate but looks for an input on which the ops differ."""

    id: str
    overlay: str
    ops: Sequence[str]
    gates: Sequence[str]
    first: str
    limit: float
    blame: bool
    witness: bool


class Result(TypedDict, total=False):
    """A child's report: how its work ended, or its progress; ``seconds`` by gate, ``wall`` in all."""

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
    """The outcome of one mutant; ``gates`` are the seconds spent on each. For a survivor, ``witness`` is an input on
    which it differs, or how the search ended; ``place`` is its file and line, ``diff`` the changed lines.
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
    """A kill matrix: ``missing`` mutants have not been tried yet; the generated mutants ``left_out`` were killed in the
    lane of a matrix that was given."""

    format: int
    lane: str
    blame: bool
    environment: Fingerprint
    seconds: float
    mutants: list[Row]
    missing: NotRequired[int]
    left_out: NotRequired[int]


class Smallest(TypedDict):
    """The smallest detected fault, of sizes from ``least`` to ``largest``: None if none is detected. ``counts``: size,
    faults detected and faults tried, for each size at which more than one seed was to be tried.
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
