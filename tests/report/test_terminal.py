"""A Run on the terminal: what is wrong first, one line each, plain in a pipe."""

import pytest

from braidcheck.report import rows, terminal
from braidcheck.result import Run, Status


def test_a_failure_in_a_pipe_is_one_plain_line_with_all_that_is_known(broken, capsys, tmp_path):
    terminal.show(broken, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert "\x1b" not in "".join(lines)
    assert lines[0] == (
        "fail accuracy qkv_rope[b] | 9 (limit <= 1) error ratio | headroom none, 9 x the limit | 2 of 3 cases | "
        "suspect ops: qkv_rope | braidcheck gate --op qkv_rope -k 'qkv_rope[b]'"
    )
    assert lines[1].strip() == "qkv_rope is 9.0 times its bound"
    assert lines[2].startswith("error coherence nano: kl, nano: nll | braidcheck gate -k kl")


def test_summary_order_is_failed_passed_skipped_missing(broken, capsys, tmp_path):
    terminal.show(broken, tmp_path)
    out = capsys.readouterr().out
    assert "pass accuracy: fine, least headroom 50% (fine)\n" in out
    assert "skipped: accuracy fine[large]: large cases need a GPU" in out
    assert "no verdict: interpret/accuracy/lost" in out
    assert (
        f"summary.md, junit.xml, run.sarif, badge.svg are in {tmp_path}; for an HTML report: braidcheck report" in out
    )
    entries = "docs/failures/numbers.md#accuracy, docs/failures/model.md#coherence"
    assert f"causes and remedies, in braidcheck's repository: {entries}\n" in out
    assert out.splitlines()[-2:] == ["suspect ops: qkv_rope (accuracy)", rows.summary_line(broken)]


def test_a_green_run_is_a_table_of_all(green, capsys):
    terminal.show(green)
    out = capsys.readouterr().out
    assert "fine" in out
    assert "75%" in out
    assert "suspect ops" not in out
    assert "causes and remedies" not in out


def test_many_failures_do_not_flood_the_terminal(accuracy_verdict, capsys):
    terminal.show(Run({}, (), tuple(accuracy_verdict(f"op{n}", "a", 2.0 + n, Status.FAIL) for n in range(30))))
    out = capsys.readouterr().out
    assert out.count("times its bound") == terminal.MAX_FAILURES
    assert "and 10 more" in out


@pytest.mark.parametrize("width", [60, 200])
def test_on_a_terminal_colour_and_width_follow_it(broken, monkeypatch, capsys, width):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal.show(broken)
    out = capsys.readouterr().out
    assert "\x1b[1;31mfail" in out
    command = next(line for line in out.splitlines() if "-k 'qkv_rope[b]'" in line)
    assert ("fail" in command) == (width == 200)
