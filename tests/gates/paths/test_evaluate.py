"""The paths gate from plain data, and its excuses."""

import pytest

from braidcheck.gates import paths
from braidcheck.gates.paths import measure
from braidcheck.result import Status
from braidcheck.settings import Settings


def evaluated(ran, missing, excused=None):
    evidence = {"part": "demo", "paths": [*ran, *missing], "ran": ran, "missing": missing}
    return paths.evaluate(evidence, excused or {}, "interpret")


def test_paths_that_all_ran_pass():
    verdict = evaluated(["demo: a", "demo: b"], [])
    assert (verdict.status, verdict.message) == (Status.PASS, "demo: cases run 2 of 2 paths")


def test_a_path_that_no_case_runs_fails_by_name():
    verdict = evaluated(["demo: a"], ["demo: b", "demo: c"])
    assert (verdict.status, verdict.value, verdict.limit) == (Status.FAIL, 2, 0)
    assert verdict.message == "no case runs demo: b and 1 more; add one, or excuse the path by name"


def test_an_excuse_lets_it_through_with_its_reason():
    verdict = evaluated(["demo: a"], ["demo: b"], {"demo: b": "a GPU's"})
    assert (verdict.status, verdict.metrics["excused"]) == (Status.PASS, {"demo: b": "a GPU's"})
    assert verdict.message == "demo: cases run 1 of 2 paths, 1 excused"


def test_an_excuse_for_what_runs_fails():
    verdict = evaluated(["demo: a"], [], {"demo: a": "no longer true"})
    assert (verdict.status, verdict.message) == (
        Status.FAIL, "demo: a is excused and runs; remove it from excused.toml"
    )  # fmt: skip


def test_no_path_at_all_is_an_error():
    assert evaluated([], []).status == Status.ERROR


def test_excuses_are_read_by_name(tmp_path):
    file = tmp_path / "excused.toml"
    file.write_text('"a reason" = ["demo: a", "demo: b"]\n')
    assert paths.excuses(file) == {"demo: a": "a reason", "demo: b": "a reason"}


@pytest.mark.parametrize(("lane", "expected"), [("interpret", ""), ("gpu", "a GPU runs compiled kernels")])
def test_the_gate_is_the_interpreters(lane, expected, monkeypatch):
    monkeypatch.setattr("braidcheck.environment.why_no_triton", lambda: "")
    assert paths.GATE.why_not(lane).startswith(expected)
    assert bool(paths.GATE.why_not(lane)) == bool(expected)


@pytest.mark.parametrize(("op", "status"), [("a_strangers", Status.SKIPPED), ("rms_norm", Status.ERROR)])
def test_only_another_projects_op_needs_no_kernel(monkeypatch, op, status):
    seen = {"part": op, "paths": [], "ran": [], "missing": []}
    monkeypatch.setattr(measure, "measure_paths", lambda *_: iter([seen]))
    (verdict,) = paths.run(Settings("interpret", "out"), [op], print)
    assert verdict.status == status
