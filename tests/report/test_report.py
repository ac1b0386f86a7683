"""What a person reads of a Run: failures first, what was not judged and why, nothing green by silence."""

import io
import re

import pytest
from rich.console import Console

from braidcheck.report import junit, markdown, progress, rows, terminal
from braidcheck.results import Run, Status, Verdict


def verdict(gate, subject, status=Status.PASS, sentence="said", **more):
    return Verdict(gate, subject, status, sentence, lane="interpret", **more)


def share(op, case, value, status=Status.PASS):
    sentence = f"{op} is {value} times its bound"
    return verdict("accuracy", f"{op}[{case}]", status, sentence, value=value, limit=1.0, unit="share of the bound")


RUN = Run(
    {"commit": "abc", "seconds": 12.3, "libraries": {"torch": "2", "triton": ""}, "gpus": [{"name": "G", "memory": 8}]},
    ("interpret/accuracy/lost",),
    (
        share("fine", "a", 0.25),
        share("fine", "b", 0.5),
        verdict(
            "accuracy", "fine[large]", Status.NOT_JUDGED, "large cases need a GPU", numbers={"subjects": ["1", "2"]}
        ),
        share("broken", "a", 0.5),
        share("broken", "b", 9.0, Status.FAIL),
        share("broken", "nan", float("nan"), Status.FAIL),
        verdict("coherence", "nano: kl", Status.ERROR, "it broke", reproduce="braidcheck gate -k kl"),
        verdict("coherence", "nano: nll", Status.ERROR, "it broke", reproduce="braidcheck gate -k nll"),
        verdict("coherence", "nano: recall", value=1.0, limit=0.99, floor=True, unit="of a|b"),
        verdict("layers", "0.6B: layer 0 decode"),
        verdict("layers", "0.6B: layer 1 decode"),
    ),
)


def test_rows_are_one_an_op_and_the_worst_first():
    found = {(row.gate, row.subject): row for row in rows.rows(RUN)}
    assert [row.status for row in rows.rows(RUN)][:3] == ["fail", "error", "error"]
    assert set(found) == {
        ("accuracy", "fine"),
        ("accuracy", "broken"),
        ("coherence", "nano: kl"),
        ("coherence", "nano: nll"),
        ("coherence", "nano: recall"),
        ("layers", "0.6B"),
    }
    fine, recall = found["accuracy", "fine"], found["coherence", "nano: recall"]
    assert (fine.count, fine.reading, fine.headroom) == ("2 of 4", ("0.5", "<= 1", "share of the bound"), "50%")
    assert (recall.reading, recall.headroom) == (("1", ">= 0.99", "of a|b"), "1%")
    assert found["accuracy", "broken"].reading[0] == "nan"
    assert found["accuracy", "broken"].headroom == ""


def test_a_row_of_which_nothing_was_judged_is_not_green():
    (row,) = rows.rows(Run({}, (), (verdict("speed", "s", Status.NOT_JUDGED, "no GPU"),)))
    assert (row.status, row.count) == (Status.NOT_JUDGED, "0 of 1")


def test_the_closing_line_counts_everything():
    assert rows.closing(RUN) == "FAIL: 2 fail, 2 error, 1 not judged, 6 pass, 1 without a verdict in 12 s"
    assert rows.closing(Run({}, (), ()), interrupted=True) == "INTERRUPTED: nothing was judged"


def test_the_terminal_says_each_failure_once_and_what_was_left_out(capsys, tmp_path):
    terminal.show(RUN, tmp_path)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "fail accuracy broken[b]: broken is 9.0 times its bound" in out
    assert "error coherence nano: kl, nano: nll: it broke\n    braidcheck gate -k kl" in out
    assert "not judged: accuracy fine[large]: large cases need a GPU" in out
    assert "no verdict: interpret/accuracy/lost" in out
    assert str(tmp_path / "summary.md") in out
    assert out.rstrip().splitlines()[-1] == rows.closing(RUN)


def test_many_failures_do_not_flood_the_terminal(capsys):
    terminal.show(Run({}, (), tuple(share("op", str(n), 2.0 + n, Status.FAIL) for n in range(30))))
    out = capsys.readouterr().out
    assert out.count("times its bound") == terminal.MOST
    assert "and 10 more" in out


def test_markdown_has_failures_before_the_table_and_the_environment_last():
    page = markdown.render(RUN)
    heads = re.findall("^## (.*)$", page, re.MULTILINE)
    assert heads == ["What is wrong", "Verdicts", "Not judged", "Environment"]
    assert "- **no verdict** `interpret/accuracy/lost`" in page
    assert "of a\\|b" in page
    assert "| libraries | torch 2 |" in page
    tables = [line for line in page.splitlines() if line.startswith("| coherence")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in tables}) == 1


def test_markdown_of_a_green_run_has_nothing_wrong():
    assert "What is wrong" not in markdown.render(Run({}, (), (verdict("a", "b"),)))


def test_junit_files_are_joined(tmp_path):
    files = []
    for name in ("one", "two"):
        files.append(tmp_path / f"{name}.xml")
        files[-1].write_text(f'<testsuites><testsuite name="{name}" tests="1"/></testsuites>')
    merged = junit.merge(files)
    assert merged.count("<testsuite ") == 2
    assert merged.startswith("<?xml")


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.02)
    monkeypatch.setattr(progress, "LIVE_SECONDS", 0.02)


def wait_for(stream, text):
    import time

    for _ in range(200):
        if text in stream.getvalue():
            return stream.getvalue()
        time.sleep(0.01)
    raise AssertionError(f"{text!r} was not said in: {stream.getvalue()!r}")


def test_progress_in_a_pipe_is_plain_lines_that_go_on_while_a_step_takes_long(hurry):
    stream = io.StringIO()
    with progress.Progress("work", stream=stream) as say:
        say("step [one]", 1, 3)
        said = wait_for(stream, "work: 1/3 still step [one] (")
    assert "work: 1/3 step [one] (" in said
    assert "\x1b" not in said


def test_progress_on_a_terminal_is_a_bar_that_goes_away(hurry, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **given: Console(**given, force_terminal=True, width=100))
    with progress.Progress("work", look=lambda: (2, 4, "step [two]"), stream=stream):
        said = wait_for(stream, "step [two]")
    assert "2/4" in said
    assert stream.getvalue().endswith("\x1b[2K")


def test_quick_work_says_nothing():
    stream = io.StringIO()
    with progress.Progress("work", stream=stream) as say:
        say("step")
    assert stream.getvalue() == ""
