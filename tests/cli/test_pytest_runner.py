"""What a run says while it runs: the first verdict and what is not well, from what its controller wrote."""

import json
from types import SimpleNamespace

import pytest

from braidcheck.cli import pytest_runner
from braidcheck.plugin import Controller
from braidcheck.result import Status, Verdict
from braidcheck.schedule.durations import Durations
from braidcheck.schedule.estimate import PROGRESS
from braidcheck.settings import Settings


def looked(tmp_path, *verdicts):
    controller = Controller(Settings("interpret", str(tmp_path)))
    controller.expected = {verdict.id: None for verdict in verdicts} | {"interpret/accuracy/rest": None}
    for verdict in verdicts:
        controller.take(verdict)
    assert "bad" in json.loads((tmp_path / PROGRESS).read_text())
    phase = SimpleNamespace(out=tmp_path, durations=Durations({}, {}), workers=1)
    return pytest_runner._look(phase).news


def verdict(subject, status, message="fine"):
    return Verdict("accuracy", subject, status, message, lane="interpret")


def test_the_first_verdict_is_a_sign_of_life_and_failures_are_told_at_once(tmp_path):
    good, bad = verdict("a", Status.PASS), verdict("op[b]", Status.FAIL, "y: off\nby 3")
    assert looked(tmp_path, good, verdict("c", Status.SKIPPED), bad) == (
        "first of 4 checks done: accuracy a", "fail accuracy op[b]: y: off by 3"
    )  # fmt: skip


def test_a_first_verdict_that_fails_is_told_once(tmp_path):
    assert looked(tmp_path, verdict("a", Status.ERROR, "Boom")) == ("error accuracy a: Boom",)


def test_before_the_first_verdict_there_is_no_news(tmp_path):
    phase = SimpleNamespace(out=tmp_path, durations=Durations({}, {}), workers=1)
    assert pytest_runner._look(phase).news == ()


def test_a_run_that_has_all_verdicts_says_what_it_waits_for(tmp_path):
    controller = Controller(Settings("interpret", str(tmp_path)))
    nodes = [SimpleNamespace(gateway=SimpleNamespace(id=name)) for name in ("gw0", "gw1")]
    phase = SimpleNamespace(out=tmp_path, durations=Durations({}, {}), workers=2)
    said = []
    for node in nodes:
        controller.pytest_configure_node(node)
    controller.expected = dict.fromkeys(["interpret/accuracy/a", "interpret/accuracy/b"])
    for subject in "ab":
        controller.take(verdict(subject, Status.PASS))
        said.append(pytest_runner._look(phase).text)
    for node in nodes:
        controller.pytest_testnodedown(node, None)
        said.append(pytest_runner._look(phase).text)
    assert said == [
        "",
        "all checks are done, waiting for worker gw0 and gw1 to end",
        "all checks are done, waiting for worker gw1 to end",
        "all checks are done, waiting for pytest to clean up and end",
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (".     [100%]OSError: [Errno 28] No space left on device", "OSError: [Errno 28] No space left on device"),
        ("INTERNALERROR> pkg.OddError: odd", "pkg.OddError: odd"),
        ("killed", "killed"),
    ],
)
def test_the_line_that_says_most_begins_with_the_error(tmp_path, line, says):
    log = tmp_path / "pytest.log"
    log.write_text(f"collected 1 item\n{line}\n\n")
    assert pytest_runner._error_line(log) == says
