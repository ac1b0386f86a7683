"""``braidcheck history`` as a person uses it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from braidcheck import checksum
from braidcheck.result import SCHEMA, Run

CSV = "time,series,value\n2026-01-01,a,1.5\n2026-01-02,a,1.6\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = {"started": "2026-11-21T10:36:16+00:00", "commit": "dc37b668f99a3488", "processor": "x86_64"}
    (tmp_path / "run.json").write_text(Run(environment, (), ()).to_json())
    (tmp_path / "nights.csv").write_text(CSV)
    return tmp_path


def test_a_file_of_before_there_were_checksums_is_taken_with_a_word(run, files):
    (files / "old.json").write_text(json.dumps(checksum.opened((files / "run.json").read_text(), SCHEMA)))
    added = run("history", "add", "old.json")
    assert (added.code, added.err) == (0, "old.json has no checksum: damage to it may go unnoticed\n")


def test_add_and_list(run, files):
    added = run("history", "add", "run.json")
    assert (added.code, added.err) == (0, "")
    assert (files / added.out.strip()).read_text() == (files / "run.json").read_text()
    run("history", "add", "run.json", "--to", "other")
    completed = run("history", "list")
    assert "2026-11-21T10:36:16+00:00" in completed.out
    assert "dc37b668f99a" in completed.out
    assert completed.out.endswith("1 Runs in braidcheck-history\n")
    assert run("history", "list", "other").out.endswith("1 Runs in other\n")


def test_import_and_merge(run, files):
    assert run("history", "import", "nights.csv", "--to", "one").out == "2 Runs imported to one\n"
    assert run("history", "import", "nights.csv", "--to", "two", "--hardware", "H200").code == 0
    assert run("history", "merge", "one", "two", "--to", "all").out == "4 Runs copied to all\n"
    assert run("history", "merge", "one", "two", "--to", "all").out == "0 Runs copied to all\n"
    machines = [json.loads(path.read_text())["environment"]["hardware"] for path in (files / "all").iterdir()]
    assert sorted(machines) == ["H200", "H200", "nights", "nights"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["add", "nowhere.json"], "cannot read nowhere.json: No such file"),
        (["add", "."], "cannot read .: Is a directory"),
        (["add", "nights.csv"], "not complete JSON"),
        (["add", "run.json", "--to", "nights.csv"], "cannot write to nights.csv"),
        (["add"], "See: braidcheck history add --help"),
        (["list", "nowhere"], "no history in nowhere"),
        (["merge", "nowhere", "--to", "all"], "no history in nowhere"),
        (["merge", "--to", "all"], "See: braidcheck history merge --help"),
        (["import", "nights.csv"], "See: braidcheck history import --help"),
        (["import", "run.json", "--to", "all"], "the first line must be"),
        (["import", "empty.csv", "--to", "all"], "has no rows"),
        (["import", "broken.csv", "--to", "all"], "line 4"),
    ],
)
def test_usage_errors_are_one_line_and_write_nothing(refused, files, words, says):
    (files / "empty.csv").write_text("time,series,value\n")
    (files / "broken.csv").write_text(CSV + "2026-01-03,a,x\n")
    before = sorted(files.iterdir())
    refused(2, says, "history", *words)
    assert sorted(files.iterdir()) == before


def test_missed_night_is_reported(run, files):
    (files / "history").mkdir()
    none = run("history", "age", "history")
    assert (none.code, none.out) == (1, "there is no Run in history\n")
    for hours, code in ((200, 1), (30, 1), (25, 0), (-3, 1)):  # the last is from the future
        started = datetime.now(UTC) - timedelta(hours=hours)
        (files / "run.json").write_text(Run({"started": started.isoformat(), "processor": "x"}, (), ()).to_json())
        run("history", "add", "run.json", "--to", "history")
        aged = run("history", "age", "history")
        assert (aged.code, aged.out) == (code, f"the newest Run is {hours:.1f} hours old; 26 are allowed\n")
    assert run("history", "age", "history", "--most", "1").code == 1
    assert run("history", "age", "nowhere").code == 2
