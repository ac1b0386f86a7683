"""An untrusted artifact: what a gate writes is read; all else is refused in a line that repeats nothing of it."""

import copy
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from braidcheck import checksum
from braidcheck.report import artifact
from braidcheck.report.artifact import Refused
from braidcheck.result import SCHEMA, Run, Status

ROOT = Path(__file__).parents[2]
TAGS = "</details><script>alert(1)</script> @everyone [x](javascript:y) https://evil.example www.evil.example fixes #1"


@pytest.fixture
def packed(tmp_path):
    def pack(content, name="run.json", **more):
        path = tmp_path / "artifact.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            for file, text in {name: content, **more}.items():
                made.writestr(file, text if isinstance(text, str | bytes) else json.dumps(text))
        return path

    return pack


@pytest.fixture
def body(broken):
    return checksum.opened(broken.to_json(), SCHEMA)


def test_what_a_gate_writes_is_read(packed, broken, green):
    for run in (broken, green):
        assert artifact.read(packed(run.to_json())) == Run.from_json(run.to_json())
    assert "## Failures" in artifact.comment(packed(broken.to_json()))


def test_what_plain_numbers_cannot_say_is_read(packed, accuracy_verdict):
    run = Run(
        {},
        (),
        (
            accuracy_verdict("op", "a", float("inf"), Status.FAIL),
            accuracy_verdict("op", "b", float("nan"), Status.FAIL),
        ),
    )
    assert artifact.read(packed(run.to_json())).verdicts[0].value == float("inf")


def put(body, *path_and_value):
    """A copy of ``body`` with a value at a path."""
    *path, last, value = path_and_value
    made = copy.deepcopy(body)
    place = made
    for step in path:
        place = place[step]
    place[last] = value
    return made


FAULTS = {
    "not an object": (lambda body: [], "not an object"),
    "another format": (lambda body: put(body, "format", 3), "format is not one of 1, 2"),
    "the old format with a new field": (
        lambda body: put(body, "format", 1),
        "verdict 0 lacks floor, numbers, sentence",
    ),
    "a format that is almost right": (lambda body: put(body, "format", True), "format"),
    "a field too many": (lambda body: put(body, "html", TAGS), "a field too many"),
    "a verdict's field too many": (lambda body: put(body, "verdicts", 0, "html", TAGS), "verdict 0 has a field"),
    "a field missing": (lambda body: put(body, "verdicts", 0, {"gate": "accuracy"}), "verdict 0 lacks"),
    "no such status": (lambda body: put(body, "verdicts", 1, "status", TAGS), "status of verdict 1"),
    "a gate's name that is none": (lambda body: put(body, "verdicts", 1, "gate", TAGS), "gate of verdict 1"),
    "no such lane": (lambda body: put(body, "verdicts", 1, "lane", TAGS), "lane of verdict 1"),
    "a green lie": (lambda body: body | {"status": "pass", "exit_code": 0}, "do not follow from the verdicts"),
    "a long subject": (lambda body: put(body, "verdicts", 1, "subject", "x" * 501), "subject of verdict 1"),
    "an empty message": (lambda body: put(body, "verdicts", 1, "message", ""), "message of verdict 1"),
    "a number that is text": (lambda body: put(body, "verdicts", 1, "value", "1e3"), "value of verdict 1"),
    "a number that is true": (lambda body: put(body, "verdicts", 1, "limit", True), "limit of verdict 1"),
    "time that runs back": (lambda body: put(body, "verdicts", 1, "seconds", -1), "not a time"),
    "an endless integer": (lambda body: put(body, "verdicts", 1, "metrics", {"n": 10**400}), "out of range"),
    "names that are no text": (lambda body: put(body, "expected", [1]), "a name in expected"),
    "too many verdicts": (lambda body: put(body, "verdicts", body["verdicts"] * 500), "not a list of at most 5,000"),
    "too many values": (lambda body: put(body, "environment", {"n": [0] * 200_001}), "more than 200,000 values"),
    "too deep": (lambda body: put(body, "environment", {"n": [[[[[[[[[[]]]]]]]]]]}), "nested"),
    "a text turned around": (lambda body: put(body, "verdicts", 1, "message", "a\u202eb"), "invisible characters"),
    "a terminal's escape": (lambda body: put(body, "verdicts", 1, "message", "\x1b[2J"), "invisible characters"),
    "half a character": (lambda body: put(body, "verdicts", 1, "message", "\ud800"), "invisible characters"),
    "an invisible key": (lambda body: put(body, "environment", {"a\x00": 1}), "invisible characters"),
    "seconds that are text": (lambda body: put(body, "environment", "seconds", TAGS), "cannot be laid out"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_no_gate_writes_is_refused_in_one_line(packed, body, name):
    spoil, says = FAULTS[name]
    with pytest.raises(Refused, match=re.escape(says)) as refused:
        artifact.comment(packed(spoil(body)))
    assert "\n" not in str(refused.value)
    assert not set("<@#\x1b\u202e") & set(str(refused.value))


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, '{"a": ' + "9" * 5_000 + "}", b"\xff\xfe", b"\x00"],
    ids=["empty", "cut", "twice", "NaN", "deep", "long number", "no UTF-8", "NUL"],
)
def test_what_is_no_json_is_refused(packed, text):
    with pytest.raises(Refused):
        artifact.read(packed(text))


@pytest.mark.parametrize("name", ["../run.json", "/run.json", "a/run.json", "run.json/", "RUN.JSON", "run.json\n"])
def test_a_file_of_another_name_is_refused(packed, body, name):
    with pytest.raises(Refused, match=r"must hold run\.json and nothing else") as refused:
        artifact.read(packed(body, name))
    assert ".." not in str(refused.value)


def test_a_second_file_is_refused(packed, body):
    with pytest.raises(Refused, match="2 files"):
        artifact.read(packed(body, **{"more.json": "{}"}))


def test_100_mb_are_refused_before_they_are_unpacked(packed, tmp_path, monkeypatch):
    bomb = packed(b" " * 100_000_000)
    assert bomb.stat().st_size < artifact.MAX_ZIP_BYTES
    monkeypatch.setattr(zipfile.ZipFile, "open", None)  # nothing is unpacked
    with pytest.raises(Refused, match="16,000,000 bytes"):
        artifact.read(bomb)
    plain = tmp_path / "plain.zip"
    with plain.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(Refused, match="4,000,000 bytes"):
        artifact.read(plain)


def test_a_size_that_lies_does_not_unpack_more(packed):
    path = packed(b" " * 20_000_000)
    data = path.read_bytes()
    size, lie = (20_000_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little")
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, lie))
    with pytest.raises(Refused):
        artifact.read(path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"x" * 1000], ids=["empty", "head", "noise"])
def test_what_is_no_zip_is_refused(tmp_path, data):
    path = tmp_path / "artifact.zip"
    path.write_bytes(data)
    with pytest.raises(Refused, match="cannot be unpacked"):
        artifact.read(path)
    with pytest.raises(Refused, match="cannot be read"):
        artifact.read(tmp_path / "nowhere")


def tagged(value):
    """``value`` with tags in every text that the schema leaves free, keys too."""
    free = ("subject", "message", "unit", "reproduce")
    texts = dict.fromkeys(free, TAGS[:100])
    verdicts = [
        v | texts | {"metrics": {TAGS: TAGS, "blame": {"ops": [TAGS], "layers": TAGS}}} for v in value["verdicts"]
    ]
    return value | {"verdicts": verdicts, "expected": [TAGS], "environment": {TAGS: TAGS, "commit": TAGS}}


def test_tags_in_every_text_stay_text(packed, body):
    page = artifact.comment(packed(tagged(body) | {"status": "fail", "exit_code": 1}))
    assert TAGS[:10] in page.replace("&lt;", "<")  # it is there, as text
    prose = re.sub(r"`[^`\n]*`", "", page)
    assert not re.search(r"<|@\w|://|\bwww\.|#\d|(?<!\\)[\[\]]", prose)


def test_fuzzed_artifact_values_are_refused_or_escaped(packed, body):
    """Every value of a Run in turn, by each of these: nothing else than Refused may come out."""

    def places(value, path=()):
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in items:
            yield (*path, key)
            yield from places(item, (*path, key))

    body["verdicts"][0]["metrics"] = {"blame": {"ops": ["a"], "layers": [1, 2]}, "subjects": ["a"], "interval": [1, 2]}
    shown = 0
    for path in list(places(body)):
        for value in (None, True, 7, TAGS, [], [TAGS], {}, {TAGS: [TAGS]}, [[{}]]):
            try:
                page = artifact.comment(packed(put(body, *path, value)))
            except Refused:
                continue
            shown += 1
            assert "<script" not in re.sub(r"`[^`\n]*`", "", page)
    assert shown > 100


def test_the_command_needs_nothing_installed_and_says_why_in_one_line(packed, body):
    def run(path):
        command = [
            sys.executable,
            "-S",
            "-m",
            "braidcheck.report.artifact",
            str(path),
        ]  # -S: the standard library alone
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    good, bad = run(packed(body)), run(packed(body | {"html": TAGS}))
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("# FAIL")
    assert (bad.returncode, bad.stdout, bad.stderr) == (2, "", "refused: the Run has a field too many\n")
