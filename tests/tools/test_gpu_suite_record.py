"""The record of the last GPU run vouches for the tree that was run, and for no other."""

import importlib.util
import json
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "tools" / "gpu_suite_record.py"
SPEC = importlib.util.spec_from_file_location("gpu_suite_record", FILE)
record = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(record)

RUN = {
    "status": "pass",
    "environment": {
        "started": "2026-11-28T01:00:00+00:00", "gpus": [{"name": "NVIDIA H200"}], "driver": "1", "cpus": 16,
        "libraries": {"torch": "2.11", "triton": "3.6", "transformers": "5.17"}, "seconds": 300.0,
    },
    "expected": ["gpu/tests/a", "gpu/timing/a"],
    "verdicts": [{"gate": "tests", "status": "pass"}, {"gate": "timing", "status": "pass"}],
}  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    for name, text in {
        "braidcheck/kernels/op.py": "kernel",
        "braidcheck/report/page.py": "page",
        "braidcheck/kernels/common/interpreter_casts.py": "patches",
        "braidcheck/engines/protocol.py": "engine",
        "tests/kernels/test_gpu.py": "pytestmark = pytest.mark.gpu",
        "tests/test_cpu.py": "",
        "docs/results/README.md": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    return tmp_path


def test_a_fresh_record_vouches_for_its_tree(tree):
    assert "is missing" in record.problem(tree)
    record.write(tree, tree / "run.json")
    assert record.problem(tree) == ""


@pytest.mark.parametrize("name", ["braidcheck/kernels/op.py", "tests/kernels/test_gpu.py", "braidcheck/kernels/new.py"])
def test_a_change_of_what_gpu_tests_cover_makes_it_stale(tree, name):
    record.write(tree, tree / "run.json")
    (tree / name).write_text("another: mark.gpu")
    assert "of 2026-11-28, and what GPU tests cover has changed since" in record.problem(tree)


@pytest.mark.parametrize(
    "name",
    [
        "braidcheck/report/page.py",
        "braidcheck/engines/protocol.py",
        "braidcheck/kernels/common/interpreter_casts.py",
        "tests/test_cpu.py",
    ],
)
def test_what_no_gpu_runs_does_not(tree, name):
    record.write(tree, tree / "run.json")
    (tree / name).write_text("another")
    assert record.problem(tree) == ""


def test_a_red_run_is_said(tree):
    (tree / "run.json").write_text(json.dumps({**RUN, "status": "fail"}))
    record.write(tree, tree / "run.json")
    assert record.problem(tree) == "the last GPU run of this tree ended with: fail"


def test_a_part_of_the_suite_vouches_for_nothing(tree, capsys, monkeypatch):
    (tree / "run.json").write_text(json.dumps({**RUN, "verdicts": RUN["verdicts"][:1]}))
    monkeypatch.setattr(record, "ROOT", tree)
    assert record.main(["write", str(tree / "run.json")]) == 2
    assert "1 of 2 items have no verdict" in capsys.readouterr().err
    assert "is missing" in record.problem(tree)
