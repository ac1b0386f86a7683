"""A Run as Markdown: failures first, the base, the kill score, no more than a comment holds, and text stays text."""

import re

from braidcheck.report import markdown
from braidcheck.result import Run, Status


def heads(page):
    return re.findall("^## (.*)$", page, re.MULTILINE)


def test_failures_come_before_the_table_and_the_environment_last(broken):
    page = markdown.render(broken)
    assert heads(page) == ["Failures", "Verdicts", "Skipped", "Environment"]
    assert "**Suspect op: `qkv_rope`** (accuracy)" in page
    assert "Causes and remedies: `docs/failures/numbers.md#accuracy`, `docs/failures/model.md#coherence`" in page
    assert "  `braidcheck gate --op qkv_rope -k 'qkv_rope[b]'`" in page
    assert "- **no verdict** `interpret/accuracy/lost`" in page
    assert "| libraries | torch 2 |" in page
    tables = [line for line in page.splitlines() if line.startswith("| coherence")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in tables}) == 1


def test_a_green_run_has_nothing_wrong(green):
    assert heads(markdown.render(green)) == ["Verdicts", "Environment"]


def test_the_base_and_the_kill_score_are_said(broken, green, matrix):
    page = markdown.render(broken, green, [matrix])
    assert heads(page)[:3] == ["Failures", "Against the base", "Kill score"]
    assert "| accuracy | fine | pass | 0.25 | 0.5 | error ratio | 75% | 50% | +100.0% |" in page
    assert "interpret: 1 of 2 named faults are caught; not caught:" in page
    assert "interpret: 1 of 1 generated faults are caught\n" in page


def test_paired_timings_need_no_base(verdict):
    slow = verdict("paired", "rms_norm[1 token]", Status.FAIL, value=1.031, limit=1.01, unit="x the base's time")
    page = markdown.render(Run({}, (), (slow,)))
    assert heads(page)[:2] == ["Failures", "Against the base"]
    assert "| rms\\_norm\\[1 token\\] | fail |  |  | +3.10% |  |" in page


def test_markdown_of_1000_failures_is_truncated_below_60_kb(accuracy_verdict, verdict):
    failing = tuple(accuracy_verdict(f"op{n}", "é" * 300, 2.0, Status.FAIL, reproduce="x" * 200) for n in range(1000))
    left = tuple(verdict("speed", f"s{n}", Status.SKIPPED, f"{n}" * 900) for n in range(1000))
    page = markdown.render(Run({f"key {n}": "v" * 900 for n in range(99)}, (), failing + left))
    assert len(page.encode()) <= 60_000
    assert heads(page) == ["Failures", "Verdicts", "Skipped", "Environment"]
    assert len(re.findall("and [0-9]+ more lines: see run.json", page)) == 4


def test_hostile_text_is_no_markup(hostile, matrix):
    page = markdown.render(hostile, hostile, [matrix])
    prose = re.sub(r"`[^`\n]*`", "", page)
    assert "<" not in prose
    assert "@all" not in prose
    assert "\n::" not in page
