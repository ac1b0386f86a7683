"""Seconds by item: exact where they are known, the gate's own figure where not, and what a file may be."""

import json

import pytest

from braidcheck.errors import UserError
from braidcheck.result import Run, Status, Verdict
from braidcheck.schedule import durations
from braidcheck.schedule.durations import Durations


def verdict(subject, seconds, gate="accuracy", **more):
    return Verdict(gate, subject, Status.PASS, "fine", lane="interpret", seconds=seconds, **more)


RUN = Run({}, (), (verdict("a", 3.04), verdict("b", 0.1), verdict("c", 0.06), verdict("x/y: kl", 60.0, "coherence")))


def test_unknown_item_duration_is_median_of_its_gate():
    known = Durations.of_run(RUN)
    assert known.of("interpret/accuracy/a") == 3.04
    assert known.of("interpret/coherence/x/y: kl") == 60.0
    assert known.of("interpret/accuracy/new") == 0.1
    assert known.of("interpret/no gate/new") == known.of("gpu/accuracy/a") == durations.UNKNOWN_SECONDS
    assert known.of_gates("interpret", ("accuracy", "coherence")) == pytest.approx(63.2, abs=1e-9)


def test_durations_table_sums_short_items():
    rows = durations.table(RUN)["interpret"]
    assert rows["accuracy"] == {"other": 0.08, "items": {"a": 3.0}}
    assert rows["coherence"] == {"other": 60.0, "items": {"x/y: kl": 60.0}}


def test_what_a_budget_skipped_has_no_duration():
    skipped = Run({}, (), (verdict("a", 0.0, metrics={"budget": 5}), verdict("b", 2.0)))
    assert Durations.of_run(skipped).of("interpret/accuracy/a") == 2.0


def test_a_run_that_is_given_goes_over_the_shipped_table(tmp_path):
    shipped = Durations.shipped()
    file = tmp_path / "run.json"
    file.write_text(RUN.to_json())
    name = next(name for name in shipped.items if name.startswith("interpret/engine/"))
    known = Durations.read(file)
    assert known.of(name) == shipped.of(name) > 1
    assert known.of("interpret/accuracy/a") == 3.04


@pytest.mark.parametrize("text", [None, "no json", "{}", '{"format": 1, "verdicts": 3}'])
def test_what_is_no_run_is_said_in_one_line(tmp_path, text):
    file = tmp_path / "run.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=r"--durations .*; give the run\.json of a gate run$"):
        Durations.read(file)


def test_the_shipped_table_is_small_and_names_seconds():
    text = durations.TABLE.read_text()
    assert len(text) < 60_000
    lanes = [gates for gates in json.loads(text).values() if isinstance(gates, dict)]  # the rest is its seal
    seconds = [value for gates in lanes for row in gates.values() for value in row["items"].values()]
    assert seconds
    assert min(seconds) >= durations.MIN_SECONDS
