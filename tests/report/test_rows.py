"""A Run as rows and its closing line: nothing green by silence."""

import pytest

from braidcheck.report import rows
from braidcheck.result import Run, Status


def test_rows_are_one_an_op_and_the_worst_first(broken):
    found = {(row.gate, row.subject): row for row in rows.rows(broken)}
    assert [row.status for row in rows.rows(broken)][:3] == ["fail", "error", "error"]
    assert set(found) == {
        ("accuracy", "fine"),
        ("accuracy", "qkv_rope"),
        ("coherence", "nano: kl"),
        ("coherence", "nano: nll"),
        ("coherence", "nano: recall"),
        ("layers", "0.6B"),
    }
    fine, recall = found["accuracy", "fine"], found["coherence", "nano: recall"]
    assert (fine.count, fine.reading, fine.headroom) == ("2 of 4", ("0.5", "<= 1", "error ratio"), "50%")
    assert (recall.reading, recall.headroom) == (("1", ">= 0.99", "of a|b"), "1%")


@pytest.mark.parametrize(
    ("value", "says"),
    [(1.25, "none, 1.25 x the limit"), (2060.0, "none, 2.06e+03 x the limit"), (float("nan"), "none, nan x the limit")],
)
def test_headroom_that_is_used_up(accuracy_verdict, value, says):
    (row,) = rows.rows(Run({}, (), (accuracy_verdict("op", "a", value, Status.FAIL),)))
    assert row.headroom == says


def test_row_with_everything_skipped_is_not_green(verdict):
    (row,) = rows.rows(Run({}, (), (verdict("speed", "s", Status.SKIPPED, "no GPU"),)))
    assert (row.status, row.count) == (Status.SKIPPED, "0 of 1")


def test_summary_line_counts_everything(broken):
    assert rows.summary_line(broken) == "FAIL: 2 fail, 2 error, 1 skipped, 6 pass, 1 without a verdict in 12 s"
    assert rows.summary_line(Run({}, (), ()), interrupted=True) == "INTERRUPTED: nothing was evaluated"


@pytest.mark.parametrize(("value", "says"), [(1.01, "none, 1.01 x the limit"), (1.0, "0%"), (0.4, "60%")])
def test_percent_are_said_below_ten_times_the_limit(accuracy_verdict, value, says):
    assert rows.headroom(accuracy_verdict("op", "a", value)) == says


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_of_a_limit_of_zero_the_value_is_what_is_used(verdict, value):
    made = verdict("engine", "tiny", value=value, limit=0)
    assert (rows.limit_fraction(made), rows.headroom(made)) == (value, "")
