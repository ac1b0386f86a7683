"""``braidcheck trend`` as a person, a program and a nightly job use it."""

import json

import pytest


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes a CSV of series, each given as its values by night."""
    monkeypatch.chdir(tmp_path)

    def write(**series):
        rows = [
            f"2026-{1 + night // 28:02}-{1 + night % 28:02},{name},{value}"
            for name, values in series.items()
            for night, value in enumerate(values)
        ]
        (tmp_path / "nights.csv").write_text("\n".join(["time,series,value", *rows]) + "\n")
        return "nights.csv"

    return write


CALM, SLOWER = [100.0, 100.1] * 15, [100.0, 100.1] * 10 + [105.0, 105.1] * 5


def test_a_program_is_told_exactly_this(run, table):
    completed = run("trend", table(kernel=SLOWER, other=CALM), "--json")
    (change,) = json.loads(completed.out).pop("changes")
    assert json.loads(completed.out).keys() == {"changes"}
    assert change.pop("confidence") == pytest.approx(1, abs=1e-3)
    assert change.pop("change") == pytest.approx(0.05, abs=0.001)
    assert change == {"series": "kernel", "time": "2026-01-21", "cause": "kernel"}
    assert (completed.code, completed.err) == (1, "FAIL: 1 worse, 0 better, in 2 series\n")


def test_a_person_is_told_the_same(run, table):
    completed = run("trend", table(kernel=SLOWER))
    assert (completed.code, completed.err) == (1, "")
    for word in ("kernel", "2026-01-21", "+5.0%", "worse", "> 99.99%", "FAIL: 1 worse"):
        assert word in completed.out


def test_no_change_or_a_better_one_is_green(run, table):
    completed = run("trend", table(kernel=CALM))
    assert (completed.code, completed.out) == (0, "PASS: 0 worse, 0 better, in 1 series\n")
    assert run("trend", table(tokens_per_second=SLOWER)).code == 0
    assert run("trend", table(tokens_per_second=SLOWER[::-1])).code == 1


def test_series_missing_in_last_run_is_skipped(run, table):
    for missing in ("a", "b", "c"):
        series = {name: CALM[: 29 if name == missing else 30] for name in ("a", "b", "c")}
        for words in ([], ["--json"]):
            completed = run("trend", table(**series), *words)
            assert completed.code == 0
            assert f"skipped: {missing}: the last nightly run does not have it\n" in completed.out + completed.err
            assert "in 2 series; 1 skipped" in completed.out + completed.err
    failed = run("trend", table(a=[*CALM[:-1], ""]))
    assert failed.code == 3
    assert "skipped: a: the measurement failed" in failed.out
    assert "PASS" not in failed.out


def test_a_history_says_what_its_table_said(run, table):
    direct = run("trend", table(kernel=SLOWER, other=CALM), "--json")
    run("history", "import", "nights.csv", "--to", "history")
    run("history", "import", "nights.csv", "--to", "history")
    assert run("trend", "history", "--json") == direct


def test_since_leaves_older_changes_out(run, table):
    path = table(kernel=SLOWER)
    assert run("trend", path, "--since", "2026-01-21").code == 1
    assert run("trend", path, "--since", "2026-01-22").code == 0


@pytest.mark.parametrize(
    ("code", "says", "words"),
    [
        (2, "cannot read nowhere: No such file", ["nowhere"]),
        (2, "See: braidcheck trend --help", []),
        (2, "the first line must be", ["wrong.csv"]),
        (2, "--since 'noon' is neither", ["empty.csv", "--since", "noon"]),
        (3, "empty.csv has no timing or rate", ["empty.csv"]),
        (3, "history has no timing or rate", ["history", "--json"]),
    ],
)
def test_mistakes_are_one_line(refused, tmp_path, monkeypatch, code, says, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.csv").write_text("a,b\n")
    (tmp_path / "empty.csv").write_text("time,series,value\n")
    (tmp_path / "history").mkdir()
    refused(code, says, "trend", *words)
