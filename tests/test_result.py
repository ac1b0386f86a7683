"""Runs and verdicts: what is missing is red, what was skipped is never green."""

import errno
import json
import math
from pathlib import Path

import pytest

from braidcheck import checksum
from braidcheck.result import SCHEMA, Run, Status, Verdict, json_by_line, write_atomically


def verdict(subject="x", status=Status.PASS, lane="interpret", **more):
    return Verdict("accuracy", subject, status, "a sentence", lane=lane, **more)


def run(*verdicts, expected=None):
    return Run({}, tuple(v.id for v in verdicts) if expected is None else expected, verdicts)


@pytest.mark.parametrize(
    ("statuses", "status", "code"),
    [
        (["pass"], "pass", 0),
        (["pass", "skipped"], "pass", 0),
        (["skipped"], "skipped", 3),
        ([], "skipped", 3),
        (["pass", "inconclusive"], "inconclusive", 3),
        (["inconclusive", "error"], "error", 3),
        (["error", "fail", "pass"], "fail", 1),
    ],
)
def test_the_worst_verdict_decides_the_exit_code(statuses, status, code):
    made = run(*(verdict(str(number), name) for number, name in enumerate(statuses)))
    assert (made.status, made.exit_code) == (status, code)


def test_an_expected_verdict_that_is_missing_is_an_error():
    made = run(verdict("a"), expected=("interpret/accuracy/a", "interpret/accuracy/b"))
    assert made.missing == ("interpret/accuracy/b",)
    assert made.exit_code == 3


def test_a_run_without_any_verdict_misses_all_that_was_expected():
    made = run(expected=("interpret/accuracy/a",))
    assert made.missing == ("interpret/accuracy/a",)
    assert (made.status, made.exit_code) == ("error", 3)


def test_json_keeps_everything_and_any_parser_reads_it():
    made = run(verdict("a", value=math.inf, limit=1.0, metrics={"n": math.nan}), verdict("b", value=math.nan))
    text = made.to_json()
    assert "Infinity" not in text
    assert "NaN" not in text
    again = Run.from_json(text)
    assert again.verdicts[0].value == math.inf
    assert math.isnan(again.verdicts[1].value)
    assert again.expected == made.expected


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"format": 1}', '{"format": 1, "environment": {}, "expected": [], "verdicts": [{}]}']
)
def test_what_is_not_a_run_is_refused(text):
    with pytest.raises(ValueError, match="not a braidcheck run"):
        Run.from_json(text)


def test_only_the_formats_that_are_known_are_read():
    body = checksum.opened(run(verdict("a")).to_json(), SCHEMA)
    assert Run.from_json(json.dumps(body)).verdicts[0].subject == "a"
    for other in (0, 3, "2", None):
        with pytest.raises(ValueError, match="not a braidcheck run of format 1 or 2"):
            Run.from_json(json.dumps(body | {"format": other}))


def test_a_verdict_travels_as_one_line():
    made = verdict(value=math.inf, limit=1.0, metrics={"index": [1, 2]}, higher_is_better=True)
    assert "\n" not in made.to_json()
    assert Verdict.from_json(made.to_json()) == made


def test_a_verdict_needs_a_message():
    with pytest.raises(ValueError, match="message"):
        Verdict("accuracy", "x", Status.PASS, "")


def test_limit_fraction_of_maximum_and_minimum():
    assert verdict(value=0.25, limit=1.0).limit_fraction == 0.25
    assert verdict(value=1.0, limit=0.99, higher_is_better=True).limit_fraction == 0.99
    assert verdict(value=0.0, limit=0.99, higher_is_better=True).limit_fraction is None
    assert verdict().limit_fraction is None


def test_worst_first():
    made = run(
        verdict("fine", value=0.9, limit=1),
        verdict("bad", Status.FAIL, value=2, limit=1),
        verdict("worse", Status.FAIL, value=3, limit=1),
        verdict("raised", Status.FAIL),
        verdict("nan", Status.FAIL, value=math.nan, limit=1),
        verdict("unknown", Status.SKIPPED),
    )
    assert [v.subject for v in made.worst_first()] == ["nan", "raised", "worse", "bad", "unknown", "fine"]


def test_merge_replaces_skipped_in_any_lane():
    merged = Run.merge([run(verdict("a", Status.SKIPPED)), run(verdict("a", lane="gpu"))])
    assert [(v.lane, v.status) for v in merged.verdicts] == [("gpu", "pass")]
    assert merged.expected == ("gpu/accuracy/a",)
    assert merged.missing == ()
    assert merged.environment["lanes"] == ["gpu"]


def test_merge_keeps_the_worse_of_two_and_both_lanes():
    merged = Run.merge([run(verdict("a")), run(verdict("a", Status.FAIL)), run(verdict("a", lane="gpu"))])
    assert [(v.lane, v.status) for v in merged.verdicts] == [("interpret", "fail"), ("gpu", "pass")]


@pytest.mark.parametrize("better", ["pass", "inconclusive", "error"])
def test_merge_keeps_the_worse_of_two_whichever_comes_first(better):
    pair = [run(verdict("a", Status.FAIL)), run(verdict("a", Status(better)))]
    for runs in (pair, pair[::-1]):
        assert [v.status for v in Run.merge(runs).verdicts] == ["fail"]


def test_merge_keeps_placeholder_until_all_its_subjects_ran():
    stand_in = verdict("op[large]", Status.SKIPPED, metrics={"subjects": ["op[1]", "op[2]"]})
    half = Run.merge([run(stand_in), run(verdict("op[1]", lane="gpu"))])
    assert stand_in in half.verdicts
    whole = Run.merge([half, run(verdict("op[2]", lane="gpu"))])
    assert stand_in not in whole.verdicts
    assert whole.missing == ()


def test_merge_keeps_what_is_missing():
    merged = Run.merge([run(expected=("gpu/accuracy/a",)), run(verdict("b"))])
    assert merged.missing == ("gpu/accuracy/a",)


def test_write_atomically_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "folder" / "run.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["run.json"]


def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        write_atomically(tmp_path / "run.json", "new")
    assert raised.value.filename == str(tmp_path / "run.json")
    assert not list(tmp_path.iterdir())


def test_a_verdict_has_no_number_time_or_lane_by_itself():
    made = Verdict("accuracy", "a", Status.PASS, "fine")
    assert (made.value, made.limit, made.higher_is_better, made.unit, made.lane) == (None, None, False, "", "")
    assert (made.seconds, made.metrics, made.reproduce, made.id) == (0.0, {}, "", "accuracy/a")
    assert verdict(limit=1.0).limit_fraction is None
    assert verdict(value=1.0).limit_fraction is None


def test_a_status_is_one_of_five():
    assert Verdict("accuracy", "a", "fail", "x").status is Status.FAIL
    with pytest.raises(ValueError, match="green"):
        Verdict("accuracy", "a", "green", "x")


def test_a_run_that_was_changed_is_refused():
    text = run(verdict("a")).to_json()
    with pytest.raises(ValueError, match="changed after it was written"):
        Run.from_json(text.replace('"a sentence"', '"another"'))


VERDICT = {"gate": "a", "subject": "b", "status": "pass", "message": "c"}
ODD_VERDICTS = (
    5, {"gate": 5}, {"subject": ["b"]}, {"message": {}}, {"value": True}, {"limit": [1]}, {"seconds": "1"},
    {"metrics": []}, {"higher_is_better": 1}, {"lane": None}, {"status": "fine"}, {"new": 1},
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("environment", []),
        ("environment", {"started": 5}),
        ("environment", {"gpus": 5}),
        ("environment", {"libraries": "torch"}),
        ("expected", "abc"),
        ("expected", [1]),
        ("verdicts", {"a": 1}),
        *(("verdicts", [VERDICT | odd if isinstance(odd, dict) else odd]) for odd in ODD_VERDICTS),
    ],
)
def test_a_run_of_odd_types_is_refused(name, odd):
    body = {"format": 2, "environment": {}, "expected": [], "verdicts": [VERDICT]}
    assert Run.from_json(json.dumps(body)).verdicts
    with pytest.raises(ValueError, match=r"\w"):
        Run.from_json(json.dumps(body | {name: odd}))


def test_rows_are_written_one_a_line_below_what_is_said_once():
    text = json_by_line({"format": 1, "seconds": 2.5}, "rows", [{"id": "a"}, {"id": "b"}], "rows 1")
    lines = text.splitlines()
    assert lines[:3] == ["{", ' "format": 1,', ' "seconds": 2.5,']
    assert {'{"id": "a"},', '{"id": "b"}'} <= set(lines)
    assert checksum.opened(text, "rows 1") == {"format": 1, "seconds": 2.5, "rows": [{"id": "a"}, {"id": "b"}]}


def test_no_runs_merge_into_an_empty_one():
    merged = Run.merge([])
    assert (merged.environment, merged.expected, merged.verdicts) == ({"lanes": []}, (), ())
