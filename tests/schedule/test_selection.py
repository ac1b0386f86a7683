"""The order in which items start."""

from types import SimpleNamespace

from braidcheck.plugin import TIMED, unit_of
from braidcheck.result import Run, Status, Verdict
from braidcheck.schedule.selection import Selection, longest_first
from braidcheck.settings import Settings
from braidcheck.suite import project_tests

SECONDS = {
    "static": 50.0,
    "engine/tiny: sampling": 30.0,
    "accuracy/a[1]": 9.0,
    "accuracy/a[2]": 8.0,
    "accuracy/a[3]": 7.0,
    "accuracy/b[1]": 2.0,
    "accuracy/b[2]": 1.0,
    "fence/a": 20.0,
}


def test_long_units_start_first_and_cases_of_an_op_apart():
    assert longest_first(SECONDS) == [
        *("static", "engine/tiny: sampling", "fence/a", "accuracy/a[1]", "accuracy/b[1]"),
        *("accuracy/a[2]", "accuracy/b[2]", "accuracy/a[3]"),
    ]


def test_units_that_are_alike_start_in_the_order_given():
    assert longest_first({"accuracy/b": 1.0, "fence/a": 1.0, "accuracy/a": 1.0}) == [
        "accuracy/b",
        "fence/a",
        "accuracy/a",
    ]


def test_a_projects_own_tests_start_longest_first_and_those_that_need_the_whole_gpu_last(tmp_path):
    seconds = {"tests/a.py::test_quick": 1.0, "tests/b.py::test_long": 40.0, "tests/c.py::test_alone": 90.0}
    verdicts = [
        Verdict("tests", name, Status.PASS, "passed", lane="gpu", seconds=took) for name, took in seconds.items()
    ]
    (tmp_path / "run.json").write_text(Run({}, (), tuple(verdicts)).to_json())
    settings = Settings("gpu", str(tmp_path), durations=str(tmp_path / "run.json"))
    marks = {"tests/c.py::test_alone": "exclusive_gpu"}
    items = [
        SimpleNamespace(nodeid=name, get_closest_marker=lambda mark, name=name: marks.get(name) == mark or None)
        for name in seconds
    ]
    worker = project_tests.Worker(settings)
    Selection(settings, worker.name, unit_of, TIMED, worker.later).pytest_collection_modifyitems(None, items)
    names = [item.nodeid.split("_")[-1] for item in items]
    assert names == ["long", "quick", "alone"]
