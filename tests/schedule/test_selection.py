"""The order in which items start."""

from types import SimpleNamespace

import pytest

from braidcheck.plugin import TIMED, SuiteWorker
from braidcheck.result import Run, Status, Verdict
from braidcheck.schedule import selection
from braidcheck.schedule.estimate import unit_of
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
        *("static", "engine/tiny: sampling", "accuracy/a[1]", "fence/a", "accuracy/a[2]"),
        *("accuracy/a[3]", "accuracy/b[1]", "accuracy/b[2]"),
    ]


def test_the_last_long_case_of_an_op_does_not_start_after_short_ones_of_others():
    seconds = {"sizes/a[1]": 40.0, "sizes/a[2]": 30.0} | {f"fence/{op}": 5.0 for op in "bcdefg"}
    assert longest_first(seconds)[:2] == ["sizes/a[1]", "sizes/a[2]"]


def test_units_that_are_alike_start_in_the_order_given():
    assert longest_first({"accuracy/b": 1.0, "fence/a": 1.0, "accuracy/a": 1.0}) == [
        "accuracy/b",
        "fence/a",
        "accuracy/a",
    ]
    assert longest_first({"sizes/a[2]": 1.0, "sizes/a[1]": 1.0}) == ["sizes/a[2]", "sizes/a[1]"]


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


def items_of(*names):
    """Stand-ins of items that need no GPU to themselves."""
    return [
        SimpleNamespace(nodeid=f"items.py::test_accuracy[{name}]", get_closest_marker=lambda _mark: None)
        for name in names
    ]


def selection_of(tmp_path, **settings):
    """A worker's selection in a run whose timed gates take a while."""
    verdicts = [Verdict("accuracy", name, Status.PASS, "x", lane="gpu", seconds=10.0) for name in "abcd"]
    verdicts += [Verdict("timing", "a", Status.PASS, "x", lane="gpu", seconds=100.0)]
    (tmp_path / "run.json").write_text(Run({}, (), tuple(verdicts)).to_json())
    lane = settings.pop("lane", "gpu")
    chosen = Settings(lane, str(tmp_path), durations=str(tmp_path / "run.json"), **settings)
    return Selection(chosen, SuiteWorker.name, unit_of, TIMED, TIMED)


@pytest.mark.parametrize(
    ("settings", "keyword", "kept"),
    [
        ({"shard": "1/2"}, "", ""),
        ({"shard": "2/2"}, "", "abcd"),
        ({"shard": "2/2"}, "accuracy", "ac"),
        ({"shard": "1/2"}, "accuracy", "bd"),
        ({"shard": "1/2", "ops": ("a",)}, "", "bd"),
        ({"shard": "1/2", "lane": "interpret"}, "", "bd"),
        ({}, "", "abcd"),
    ],
)
def test_the_shard_that_times_later_takes_less_unless_nothing_is_timed(tmp_path, settings, keyword, kept):
    items = items_of(*"abcd")
    config = SimpleNamespace(getoption=lambda name: {"keyword": keyword}[name])
    selection_of(tmp_path, **settings).pytest_collection_modifyitems(config, items)
    whole = {item.nodeid[-2] for item in items}
    other = len(kept) in (0, 4)
    assert whole == set(kept) if other else len(whole) == 2


def test_a_budget_has_an_order_of_its_own_and_learns_from_calls_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(selection, "order", lambda named, _seconds, _changed: sorted(named, reverse=True))
    chosen = selection_of(tmp_path, deadline=1e12)
    items = items_of(*"abcd")
    chosen.pytest_collection_modifyitems(None, items)
    assert [item.nodeid[-2] for item in items] == list("dcba")
    assert len(chosen.budget.seconds) == 4
    took = []
    chosen.budget = SimpleNamespace(took=lambda usual, measured: took.append((usual, measured)))
    for when, seconds in (("setup", 1.0), ("call", 5.0), ("teardown", 7.0)):
        report = SimpleNamespace(when=when, duration=seconds, nodeid=items[0].nodeid)
        chosen.pytest_runtest_logreport(report)
    assert took == [(10.0, 6.0)]
    chosen.budget = None
    chosen.pytest_runtest_logreport(report)


@pytest.mark.parametrize("fits", [True, False])
def test_what_the_budget_has_no_time_for_is_skipped(tmp_path, fits):
    chosen = selection_of(tmp_path, deadline=1e12, budget=5.0)
    (item,) = items_of("a")
    item.stash = {}
    chosen.budget = SimpleNamespace(fits=lambda unit, _now: fits and unit == "accuracy/a")
    if fits:
        chosen.pytest_runtest_setup(item)
        assert item.stash == {}
        return
    with pytest.raises(pytest.skip.Exception, match="the budget of 5 minutes has no time left for it"):
        chosen.pytest_runtest_setup(item)
    assert item.stash[selection.SKIPPED].status == Status.SKIPPED
    chosen.budget = None
    chosen.pytest_runtest_setup(item)
