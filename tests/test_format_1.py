"""Runs and matrices of format 1 are read as what they said, and nothing that mixes both formats is."""

import copy
import json
import math
import zipfile

import pytest

from braidcheck import format_1
from braidcheck.report import artifact
from braidcheck.report.artifact import Refused
from braidcheck.result import Run, Status

OF_FORMAT_1 = {
    "format": 1,
    "status": "not judged",
    "exit_code": 3,
    "environment": {"commit": "59c8b5c", "started": "2026-11-21T10:36:16+00:00"},
    "expected": ["gpu/accuracy/a", "gpu/speed/b"],
    "verdicts": [
        {
            "gate": "accuracy", "subject": "a", "status": "not judged", "sentence": "takes no eps", "value": "inf",
            "limit": 1.0, "floor": False, "unit": "share of the bound", "lane": "gpu", "seconds": 0.5,
            "numbers": {"stock_share": 0.2, "stock_relative": 0.1, "output": "q"}, "reproduce": "braidcheck gate",
        },
        {
            "gate": "speed", "subject": "b", "status": "not judged", "sentence": "no GPU", "value": None, "limit": None,
            "floor": True, "unit": "tok/s", "lane": "gpu", "seconds": 0.0, "numbers": {}, "reproduce": "",
        },
    ],
}  # fmt: skip


def test_run_of_format_1_is_read():
    read = Run.from_json(json.dumps(OF_FORMAT_1))
    first, second = read.verdicts
    assert (first.status, first.message, first.value, first.unit) == (
        "skipped",
        "takes no eps",
        math.inf,
        "error ratio",
    )
    assert first.metrics == {"baseline_error_ratio": 0.2, "baseline_relative": 0.1, "output": "q"}
    assert (first.higher_is_better, second.higher_is_better) == (False, True)
    assert (read.status, read.exit_code, read.missing) == (Status.SKIPPED, 3, ())
    assert json.loads(read.to_json())["format"] == 2
    assert Run.from_json(read.to_json()) == read


def test_renamed_op_is_read_by_its_name_of_today():
    old = json.loads(
        json.dumps(OF_FORMAT_1).replace('"a"', '"attention_step[a]"').replace('/a"', '/attention_step[a]"')
    )
    old["verdicts"][0]["reproduce"] = "braidcheck gate --op attention_step"
    old["verdicts"][0]["numbers"]["subjects"] = ["attention_step[a]", "attention_steps"]
    read = Run.from_json(json.dumps(old))
    assert read.verdicts[0].subject == "decode_attention[a]"
    assert read.verdicts[0].reproduce == "braidcheck gate --op decode_attention"
    assert read.verdicts[0].metrics["subjects"] == ["decode_attention[a]", "attention_steps"]
    assert read.expected[0] == "gpu/accuracy/decode_attention[a]"
    assert format_1.mutant({"id": "attention_step: late"}) == {"id": "decode_attention: late"}


@pytest.mark.parametrize(
    "fault",
    [
        lambda run: run["verdicts"][0].update(message="a word of format 2"),
        lambda run: run["verdicts"][0].pop("sentence"),
        lambda run: run["verdicts"][0].update(numbers=1),
        lambda run: run.update(format=3),
    ],
)
def test_neither_format_is_refused(fault):
    run = copy.deepcopy(OF_FORMAT_1)
    fault(run)
    with pytest.raises(ValueError, match="not a braidcheck run"):
        Run.from_json(json.dumps(run))


@pytest.fixture
def packed(tmp_path):
    def pack(run):
        path = tmp_path / "artifact.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("run.json", json.dumps(run))
        return path

    return pack


def test_artifact_of_format_1_is_read(packed):
    assert artifact.read(packed(OF_FORMAT_1)) == Run.from_json(json.dumps(OF_FORMAT_1))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda run: run.update(status="skipped"), "status of the Run is not one of"),
        (lambda run: run.update(status="pass"), "status and exit_code do not follow from the verdicts"),
        (lambda run: run["verdicts"][1].update(status="skipped"), "status of verdict 1"),
        (lambda run: run["verdicts"][1].update(message="a word of format 2"), "verdict 1 has a field too many"),
        (lambda run: run["verdicts"][1].update(numbers=[]), "numbers of verdict 1"),
        (lambda run: run.update(format=2), "status of the Run is not one of"),
    ],
)
def test_artifact_that_mixes_formats_is_refused(packed, fault, says):
    run = copy.deepcopy(OF_FORMAT_1)
    fault(run)
    with pytest.raises(Refused, match=says):
        artifact.read(packed(run))


def test_row_of_an_old_kill_matrix_is_read():
    assert format_1.mutant({"id": "a", "story": "one late"}) == {"id": "a", "description": "one late"}


def test_survivor_that_was_left_out_for_its_compiled_code_counts_again():
    row = format_1.mutant({"id": "a", "outcome": "same code"})
    assert row["outcome"] == "survived"
    assert row["witness"].startswith("none found")
