"""A Run as SARIF 2.1.0 for code scanning: one result per failure, on the kernel's file and line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import NotRequired, TypedDict
from urllib.parse import quote

from braidcheck import __version__
from braidcheck.gates import ENGINE_GATES, GATES
from braidcheck.report.failures import Failure, failures
from braidcheck.report.rows import subject_of
from braidcheck.report.source import place
from braidcheck.result import Run, Status

FILE = "run.sarif"
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {Status.FAIL: "error", Status.ERROR: "error", Status.INCONCLUSIVE: "warning"}
NO_VERDICT = "no-verdict"
OTHER_QUESTIONS = {**ENGINE_GATES, NO_VERDICT: "Does every expected check have a verdict?"}
NOWHERE = "pyproject.toml", 1  # for results that blame no kernel: code scanning shows no result without a file


class Text(TypedDict):
    """SARIF's message."""

    text: str


class Location(TypedDict):
    """SARIF's location: a file's line, and what stands there."""

    physicalLocation: dict[str, object]
    logicalLocations: list[dict[str, str]]


class Result(TypedDict):
    """SARIF's result: one failure."""

    ruleId: str
    ruleIndex: NotRequired[int]
    level: str
    message: Text
    locations: list[Location]
    partialFingerprints: dict[str, str]
    properties: NotRequired[dict[str, object]]


def render(run: Run) -> str:
    """The whole document."""
    results = [*map(_failure, failures(run)), *map(_missing, run.missing)]
    rules = list(dict.fromkeys(result["ruleId"] for result in results))
    for result in results:
        result["ruleIndex"] = rules.index(result["ruleId"])
    driver = {"name": "braidcheck", "version": __version__, "rules": [_rule(name) for name in rules]}
    body = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }
    return json.dumps(body, indent=1) + "\n"


def _rule(name: str) -> dict[str, object]:
    question = GATES[name].question if name in GATES else OTHER_QUESTIONS.get(name, f"Does {name} pass?")
    help_text = f"{question} The numbers, and the command that runs just this check, are properties of each result."
    return {
        "id": name,
        "shortDescription": {"text": question},
        "help": {"text": help_text},
        "defaultConfiguration": {"level": "error"},
    }


def _failure(one: Failure) -> Result:
    verdict = one.first
    known = {
        "reproduce": verdict.reproduce,
        "measured": one.reading,
        "headroom": one.headroom,
        "blamed": str(one.blame),
    }
    subjects = sorted({subject_of(verdict) for verdict in one.verdicts})
    return {
        "ruleId": verdict.gate,
        "level": LEVELS[verdict.status],
        "message": {"text": _text(f"{one.names}: {verdict.message}")},
        "locations": [_location(place(verdict) or NOWHERE, one.names)],
        "partialFingerprints": _fingerprint((verdict.lane, verdict.gate, *subjects)),
        "properties": {name: value for name, value in known.items() if value},
    }


def _missing(name: str) -> Result:
    return {
        "ruleId": NO_VERDICT,
        "level": "error",
        "message": {"text": _text(f"{name}: expected, but no verdict was recorded")},
        "locations": [_location(NOWHERE, name)],
        "partialFingerprints": _fingerprint((NO_VERDICT, name)),
    }


def _location(place: tuple[str, int], subject: str) -> Location:
    file, line = place
    artifact = {"uri": quote(file), "uriBaseId": "%SRCROOT%"}
    physical = {"artifactLocation": artifact, "region": {"startLine": line}}
    return {"physicalLocation": physical, "logicalLocations": [{"fullyQualifiedName": subject}]}


def _fingerprint(words: Sequence[str]) -> dict[str, str]:
    """The identity of an alert, which must not depend on numbers or on which case is the worst."""
    return {"braidcheck/v1": hashlib.sha256("\n".join(words).encode(errors="surrogatepass")).hexdigest()}


def _text(text: str) -> str:
    """One line without links, which SARIF writes as [text](target)."""
    return " ".join(text.split()).replace("](", "] (")
