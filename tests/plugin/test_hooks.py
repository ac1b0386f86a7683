"""The plugin's hooks, called with stand-ins of items and reports."""

import time
from pathlib import Path

import pytest

from braidcheck import autosave
from braidcheck.cli import pytest_runner as launcher
from braidcheck.cli.pytest_runner import Phase
from braidcheck.plugin import VERDICT, Controller, SuiteWorker
from braidcheck.result import Run, Status, Verdict
from braidcheck.schedule.durations import Durations
from braidcheck.settings import Settings


def test_the_time_left_is_told_by_how_long_items_usually_take(tmp_path, monkeypatch):
    out = tmp_path / "correctness"
    out.mkdir()
    controller = Controller(Settings("interpret", str(out)))
    items = [f"items.py::test_demo[{letter}]" for letter in "abc"]
    controller.pytest_xdist_node_collection_finished(items)
    usual = Durations(dict.fromkeys(("interpret/demo/a", "interpret/demo/b", "interpret/demo/c"), 50.0), {})
    phase = Phase("correctness", ("demo",), Settings("interpret", str(tmp_path)), 1, "", usual)
    assert launcher._look(phase)[:4] == (0, 3, "", "")
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    controller.pytest_runtest_logstart(items[0])
    assert launcher._look(phase)[:4] == (0, 3, "demo a", "about 2 min left")  # 150 s
    monkeypatch.setattr(time, "time", lambda: 1040.0)
    assert launcher._look(phase)[:4] == (0, 3, "demo a", "about 110 s left")


class Item:
    """A stand-in of an item, which returns a verdict."""

    nodeid = "suite/items.py::test_accuracy[op[a]]"
    _fixtureinfo = type("Info", (), {"argnames": ()})

    def __init__(self, verdict=None):
        self.obj = lambda: verdict
        self.stash, self.funcargs = {}, {}


@pytest.fixture
def settings(tmp_path):
    return Settings("interpret", str(tmp_path))


@pytest.mark.parametrize(("gate", "subject"), [("accuracy", "op[b]"), ("fence", "op[a]")])
def test_an_item_may_not_return_another_s_verdict(settings, gate, subject):
    with pytest.raises(TypeError, match=f"returned the verdict {gate}/"):
        SuiteWorker(settings).pytest_pyfunc_call(Item(Verdict(gate, subject, Status.PASS, "fine")))


@pytest.mark.parametrize("status", [Status.FAIL, Status.ERROR, Status.INCONCLUSIVE])
def test_a_verdict_that_does_not_pass_fails_its_item(settings, status):
    item = Item(Verdict("accuracy", "op[a]", status, "a sentence"))
    with pytest.raises(pytest.fail.Exception, match="a sentence"):
        SuiteWorker(settings).pytest_pyfunc_call(item)
    assert item.stash[VERDICT].status == status


def test_what_an_item_raises_is_an_error_with_its_traceback(settings):
    call = pytest.CallInfo.from_call(lambda: 1 / 0, "call")
    verdict = SuiteWorker(settings).verdict(Item(), call, None)
    assert (verdict.id, verdict.status) == ("accuracy/op[a]", Status.ERROR)
    assert verdict.message == "ZeroDivisionError: division by zero."
    assert "ZeroDivisionError" in Path(verdict.metrics["traceback"]).read_text()


def report(nodeid, failed=False, verdicts=()):
    """A stand-in of the report of an item."""
    properties = [("verdict", verdict.to_json()) for verdict in verdicts]
    return type("Report", (), {"nodeid": nodeid, "failed": failed, "user_properties": properties})


def test_what_was_collected_is_expected_and_what_is_not_reported_is_missing(settings, tmp_path):
    controller = Controller(settings)
    ids = [f"items.py::test_accuracy[op[{case}]]" for case in "abc"]
    controller.pytest_xdist_node_collection_finished(ids)
    controller.pytest_runtest_logreport(
        report(ids[0], verdicts=[Verdict("accuracy", "op[a]", Status.PASS, "fine", lane="interpret")])
    )
    controller.pytest_runtest_logreport(report(ids[1], failed=True))
    controller.pytest_sessionfinish(pytest.ExitCode.TESTS_FAILED)
    run = Run.from_json((tmp_path / "run.json").read_text())
    assert run.missing == ("interpret/accuracy/op[c]",)
    assert {verdict.subject: verdict.status for verdict in run.verdicts} == {"op[a]": "pass", "op[b]": "error"}
    assert run.exit_code == 3


def test_an_unfinished_run_is_saved_until_the_session_ends(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(autosave, "INTERVAL_S", 0)
    controller = Controller(settings)
    controller.expected = {"interpret/accuracy/op[a]": None, "interpret/accuracy/op[b]": None}
    controller.take(Verdict("accuracy", "op[a]", Status.PASS, "fine", lane="interpret"))
    partial = Run.from_json((tmp_path / "partial-run.json").read_text())
    assert partial.environment["interrupted"] is True
    assert partial.missing == ("interpret/accuracy/op[b]",)
    controller.pytest_sessionfinish(pytest.ExitCode.OK)
    assert not (tmp_path / "partial-run.json").exists()
