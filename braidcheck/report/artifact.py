"""Reads an untrusted Run: an artifact's zip is refused in one line unless it contains what a gate writes (standard
library).

    python3 -m braidcheck.report.artifact ARTIFACT.zip > comment.md

Refusals never quote the artifact: places are named by number, so a log shows no untrusted text.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from braidcheck import checksum, format_1
from braidcheck.errors import UserError
from braidcheck.report import markdown
from braidcheck.result import FORMAT, Run, Status

NAME = "run.json"  # the one file of an artifact
MAX_ZIP_BYTES, MAX_FILE_BYTES = 4_000_000, 16_000_000  # of the zip and of the file in it
MAX_VERDICTS, MAX_VALUES, MAX_DEPTH = 5_000, 200_000, 10  # a GPU run has about 950 verdicts
MAX_NUMBER = 1e300  # magnitude of a number, so that no reader overflows
INFINITE = ("inf", "-inf", "nan")  # how a Run writes them
LANES = ("", "interpret", "gpu", "static")
# Nothing invisible: no control characters except white space, no changes of text direction, no lone surrogates.
INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

Check = Callable[[Any, str], None]


class Refused(UserError):
    """The artifact is not what a gate writes."""


def read(path: Path) -> Run:
    """The Run in the artifact ``path``. Raises Refused with a reason that does not quote it."""
    try:
        text = _unpacked(path)
        body = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{NAME} is not valid JSON ({type(error).__name__})") from None
    if not isinstance(body, dict) or not checksum.is_sealed(text):
        check(body)
    else:
        check({name: value for name, value in body.items() if name not in ("schema", "checksum")})
    try:
        run = Run.from_json(text)
    except ValueError:
        raise Refused("it was changed after it was written, or its types are not those of a Run") from None
    claimed = format_1.upgraded(body) if body["format"] == 1 else body
    if (run.status, run.exit_code) != (claimed["status"], claimed["exit_code"]):
        raise Refused("status and exit_code do not follow from the verdicts")
    return run


def comment(path: Path) -> str:
    """The Run in the artifact ``path`` as Markdown. Raises Refused."""
    run = read(path)
    try:
        return markdown.render(run)
    except Exception as error:  # untrusted: parts that the schema leaves open, such as metrics, may not be renderable
        raise Refused(f"the Run cannot be laid out ({type(error).__name__})") from None


def check(body: Any) -> None:
    """Check ``body``, parsed JSON, against the schema of a Run. Raises Refused at the first fault."""
    _measure(body)
    _shape(body, RUN, "the Run")
    if body["format"] not in VERDICTS:
        raise Refused(f"format is not one of {', '.join(map(str, VERDICTS))}")
    _one_of(*STATUSES[body["format"]])(body["status"], "status of the Run")
    for number, verdict in enumerate(body["verdicts"]):
        _shape(verdict, VERDICTS[body["format"]], f"verdict {number}")


def _unpacked(path: Path) -> str:
    """The text of the single file; sizes are checked before unpacking and again during it."""
    try:
        if path.stat().st_size > MAX_ZIP_BYTES:
            raise Refused(f"the artifact has more than {MAX_ZIP_BYTES:,} bytes")
        with zipfile.ZipFile(path) as archive:
            files = archive.infolist()
            if [file.filename for file in files] != [NAME]:
                raise Refused(f"the artifact holds {len(files)} files; it must hold {NAME} and nothing else")
            if files[0].file_size > MAX_FILE_BYTES:
                raise Refused(f"{NAME} has more than {MAX_FILE_BYTES:,} bytes")
            with archive.open(files[0]) as packed:
                data = packed.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise Refused(f"{NAME} has more than {MAX_FILE_BYTES:,} bytes")
        return data.decode("utf-8")
    except Refused:
        raise
    except OSError as error:
        raise Refused(f"the artifact cannot be read: {error.strerror}") from None
    except Exception as error:  # untrusted, and each compression method has errors of its own
        raise Refused(f"the artifact cannot be unpacked ({type(error).__name__})") from None


def _no_constant(word: str) -> None:
    raise ValueError(word)  # NaN and Infinity are not JSON; a Run writes them as strings


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a duplicate key")  # two readers could see two Runs
    return made


def _measure(body: Any) -> None:
    """Limits on depth, number of values, and on every text and number."""
    left, seen = [(body, 1)], 0
    while left:
        value, depth = left.pop()
        seen += 1
        if depth > MAX_DEPTH:
            raise Refused(f"it is nested more than {MAX_DEPTH} deep")
        if seen > MAX_VALUES:
            raise Refused(f"it holds more than {MAX_VALUES:,} values")
        if isinstance(value, dict):
            for key in value:
                _text(200)(key, "a key")
            left += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            left += [(item, depth + 1) for item in value]
        elif isinstance(value, str):
            _text(20_000)(value, "a text")
        elif isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
            raise Refused("a number is out of range")


def _shape(value: Any, schema: Mapping[str, Check], where: str) -> None:
    if not isinstance(value, dict):
        raise Refused(f"{where} is not an object")
    if value.keys() != schema.keys():
        missing = sorted(schema.keys() - value.keys())
        raise Refused(f"{where} lacks {', '.join(missing)}" if missing else f"{where} has a field too many")
    for name, checked in schema.items():
        checked(value[name], f"{name} of {where}")


def _text(most: int, least: int = 0) -> Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, str) or not least <= len(value) <= most:
            raise Refused(f"{where} is not a text of {least} to {most:,} characters")
        if INVISIBLE.search(value):
            raise Refused(f"{where} has invisible characters")

    return checked


def _one_of(*allowed: str) -> Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, str) or value not in allowed:
            raise Refused(f"{where} is not one of {', '.join(repr(str(word)) for word in allowed)}")

    return checked


def _matches(pattern: str) -> Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise Refused(f"{where} does not match {pattern}")

    return checked


def _of(*types: type) -> Check:
    def checked(value: Any, where: str) -> None:
        if type(value) not in types:  # not isinstance: True is an int
            raise Refused(f"{where} is not a {' or '.join(kind.__name__ for kind in types)}")

    return checked


def _number(value: Any, where: str) -> None:
    if value is not None and value not in INFINITE:
        _of(int, float)(value, where)


def _seconds(value: Any, where: str) -> None:
    if type(value) not in (int, float) or value < 0:
        raise Refused(f"{where} is not a time")


def _names(value: Any, where: str) -> None:
    if not isinstance(value, list) or len(value) > MAX_VERDICTS:
        raise Refused(f"{where} is not a list of at most {MAX_VERDICTS:,}")
    for name in value:
        _text(1_000, 1)(name, f"a name in {where}")


def _verdicts(value: Any, where: str) -> None:
    if not isinstance(value, list) or len(value) > MAX_VERDICTS:
        raise Refused(f"{where} is not a list of at most {MAX_VERDICTS:,}")


RUN: dict[str, Check] = {
    "format": _of(int),
    "status": _text(20, 1),  # which ones there are depends on the format
    "exit_code": _of(int),
    "environment": _of(dict),
    "expected": _names,
    "verdicts": _verdicts,
}
VERDICT: dict[str, Check] = {
    "gate": _matches("[a-z][a-z_]{0,39}"),
    "subject": _text(500, 1),
    "status": _one_of(*Status),
    "message": _text(10_000, 1),
    "value": _number,
    "limit": _number,
    "higher_is_better": _of(bool),
    "unit": _text(100),
    "lane": _one_of(*LANES),
    "seconds": _seconds,
    "metrics": _of(dict),
    "reproduce": _text(2_000),
}
_OLD = {new: old for old, new in {**format_1.FIELDS, **format_1.STATUSES}.items()}
STATUSES = {1: tuple(_OLD.get(status, status) for status in Status), FORMAT: tuple(Status)}
VERDICTS = {
    1: {_OLD.get(field, field): check for field, check in VERDICT.items()} | {"status": _one_of(*STATUSES[1])},
    FORMAT: VERDICT,
}


def main(words: Sequence[str] | None = None) -> int:
    """Print an artifact's Run as Markdown and return 0; or 2 with the reason on standard error if it is refused."""
    arguments = list(sys.argv[1:] if words is None else words)
    if len(arguments) != 1:
        print("usage: python3 -m braidcheck.report.artifact ARTIFACT.zip", file=sys.stderr)
        return 2
    try:
        print(comment(Path(arguments[0])))
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return refused.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
