"""Verdict and Run, and their JSON form (standard library only)."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from braidcheck import checksum, format_1

__all__ = "Run", "Status", "Verdict"

FORMAT = 2
SCHEMA = "run 2"


class Status(StrEnum):
    """The five outcomes of a gate."""

    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"


TEXT, NUMBER = (str,), (int, float)
VERDICT = {
    **dict.fromkeys(("gate", "subject", "status", "message", "unit", "lane", "reproduce"), TEXT),
    **dict.fromkeys(("value", "limit"), (*NUMBER, type(None))),
    "higher_is_better": (bool,),
    "seconds": NUMBER,
    "metrics": (dict,),
}
ENVIRONMENT = {
    **dict.fromkeys(("started", "platform", "python", "hardware", "imported", "braidcheck"), TEXT),
    **dict.fromkeys(("commit", "driver", "processor"), (str, type(None))),
    "libraries": (dict,),
    "gpus": (list, type(None)),
}

# Worst first: the order of reports and of the exit code.
SEVERITY = (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE, Status.SKIPPED, Status.PASS)


@dataclass(frozen=True)
class Verdict:
    """One gate's outcome on one subject.

    ``value`` is the deciding number, if there is one, and ``limit`` its maximum, or with ``higher_is_better`` its
    minimum (both in ``unit``). ``message`` says this as a sentence, ``metrics`` has further measurements, ``reproduce``
    is the command that runs just this check.
    """

    gate: str
    subject: str
    status: Status
    message: str
    value: float | None = None
    limit: float | None = None
    higher_is_better: bool = False
    unit: str = ""
    lane: str = ""
    seconds: float = 0.0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    reproduce: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))
        if not (self.gate and self.subject and self.message):
            raise ValueError("a verdict needs a gate, a subject and a message")

    @property
    def id(self) -> str:
        """Unique within a run: lane, gate and subject."""
        return "/".join(part for part in (self.lane, self.gate, self.subject) if part)

    @property
    def limit_fraction(self) -> float | None:
        """Value over limit, or limit over value with ``higher_is_better``: above 1 it fails. None without a limit."""
        if self.value is None or self.limit is None:
            return None
        small, large = (self.limit, self.value) if self.higher_is_better else (self.value, self.limit)
        return small / large if large else None

    def to_json(self) -> str:
        """The verdict as one line of JSON."""
        return json.dumps(_plain(asdict(self)), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """The verdict that ``to_json`` wrote."""
        return cls._from(json.loads(text))

    @classmethod
    def _from(cls, body: Mapping[str, Any]) -> Verdict:
        # Infinities and NaN are strings in the file; those in ``metrics`` remain strings.
        values = {key: float(body[key]) for key in ("value", "limit") if isinstance(body.get(key), str)}
        require({**body, **values}, VERDICT, "a verdict", optional=True)
        return cls(**{**body, **values})


@dataclass(frozen=True)
class Run:
    """Environment, expected ids and verdicts of one commit on one machine. ``expected`` lists the ids of all planned
    verdicts: a missing one is an error, so a crashed worker or a lost item can never look green.
    """

    environment: Mapping[str, Any]
    expected: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Expected ids without a verdict."""
        got = {verdict.id for verdict in self.verdicts}
        return tuple(name for name in self.expected if name not in got)

    @property
    def status(self) -> Status:
        """The worst of the verdicts; a missing one is an error; a run in which everything was skipped is skipped."""
        statuses = {verdict.status for verdict in self.verdicts}
        if self.missing:
            statuses.add(Status.ERROR)
        if not statuses - {Status.SKIPPED}:
            return Status.SKIPPED
        return next(status for status in SEVERITY if status in statuses - {Status.SKIPPED})

    @property
    def exit_code(self) -> int:
        """0 every gate that ran passed; 1 a gate failed; 3 no gate failed, but there is an error (a missing verdict is
        one) or an inconclusive verdict, or nothing could be evaluated."""
        return {Status.PASS: 0, Status.FAIL: 1}.get(self.status, 3)

    def worst_first(self) -> list[Verdict]:
        """The verdicts by severity, then by how much of the limit they used, then by name."""

        def rank(verdict: Verdict) -> tuple[int, float, str]:
            limit_fraction = verdict.limit_fraction
            # A missing number (it raised) and NaN are worse than any number.
            used = math.inf if limit_fraction is None or math.isnan(limit_fraction) else limit_fraction
            return SEVERITY.index(verdict.status), -used, verdict.id

        return sorted(self.verdicts, key=rank)

    def to_json(self) -> str:
        """The run as JSON text; infinities and NaN are written as strings so that any reader can parse it."""
        body = {"format": FORMAT, "status": self.status, "exit_code": self.exit_code, **asdict(self)}
        return checksum.seal(json.dumps(_plain(body), indent=1, allow_nan=False), SCHEMA)

    @classmethod
    def from_json(cls, text: str) -> Run:
        """The run that ``to_json`` wrote, in this format or format 1. Raises ValueError for any other text."""
        try:
            body = checksum.opened(text, SCHEMA)
        except json.JSONDecodeError:
            raise
        except ValueError as error:
            raise ValueError(f"not a braidcheck run: {error}") from None
        if body.get("format") not in (1, FORMAT):
            raise ValueError(f"not a braidcheck run of format 1 or {FORMAT}")
        try:
            body = format_1.upgraded(body) if body["format"] == 1 else body
            require(body["environment"], ENVIRONMENT, "environment", optional=True)
            verdicts = tuple(Verdict._from(verdict) for verdict in body["verdicts"])
            return cls(body["environment"], _names(body["expected"]), verdicts)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a braidcheck run: {str(error) or type(error).__name__}") from None

    @classmethod
    def merge(cls, runs: Iterable[Run]) -> Run:
        """One run of several lanes, phases or machines.

        A verdict replaces "skipped" of the same gate and subject, whatever the lane; of two verdicts with one id the
        worse one stays. A "skipped" that stands for several subjects names them in ``metrics["subjects"]`` and is
        dropped when all of them were evaluated.
        """
        runs = list(runs)
        evaluated = {(v.gate, v.subject) for run in runs for v in run.verdicts if v.status != Status.SKIPPED}
        kept: dict[str, Verdict] = {}
        replaced: set[str] = set()
        for verdict in (v for run in runs for v in run.verdicts):
            subjects = verdict.metrics.get("subjects", (verdict.subject,))
            other = kept.get(verdict.id)
            if verdict.status == Status.SKIPPED and evaluated.issuperset((verdict.gate, s) for s in subjects):
                replaced.add(verdict.id)
            elif other is None or SEVERITY.index(verdict.status) < SEVERITY.index(other.status):
                kept[verdict.id] = verdict
        expected = dict.fromkeys(name for run in runs for name in run.expected)
        environment = dict(runs[0].environment) if runs else {}
        environment["lanes"] = sorted({v.lane for v in kept.values() if v.lane})
        return cls(environment, tuple(n for n in expected if n in kept or n not in replaced), tuple(kept.values()))


def require(body: object, types: Mapping[str, tuple[type, ...]], what: str, *, optional: bool = False) -> None:
    """Raise ValueError unless ``body`` is an object whose entries have these types; ``optional`` ones may be
    missing."""
    if not isinstance(body, Mapping):
        raise ValueError(f"{what} is not an object")
    for name, kinds in types.items():
        if (name in body or not optional) and type(body.get(name)) not in kinds:
            words = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
            raise ValueError(f"{name} of {what} must be {words}")


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("expected must be a list of names")
    return tuple(value)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def json_by_line(body: Mapping[str, Any], name: str, rows: Iterable[Mapping[str, Any]], schema: str) -> str:
    """``body`` as JSON with ``rows`` under ``name``, one line each, for readable diffs. It is sealed with a ``schema``,
    such as "kill matrix 1".
    """
    head, lines = json.dumps(body, indent=1), ",\n".join(json.dumps(row) for row in rows)
    return checksum.seal(f'{head[:-2]},\n "{name}": [\n{lines}\n]}}\n', schema)


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically: a reader sees the old file or the complete new one. Raises OSError that
    names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by tempfile, whose files only their owner can read.
    draft = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:  # for a full disk Python does not name the file
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        draft.unlink(missing_ok=True)
