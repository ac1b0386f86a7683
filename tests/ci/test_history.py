"""A history: each Run a file of its own, whole or not there, whoever writes at the same time."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from braidcheck.ci import history
from braidcheck.errors import UserError
from braidcheck.result import Run, Status, Verdict

ENVIRONMENT = {
    "started": "2026-11-21T10:36:16+00:00",
    "commit": "dc37b668f99a3488f7d9+",
    "gpus": [{"name": "H200", "capability": "9.0"}],
    "processor": "x86_64",
}

# Waits for the starting shot, so that all write at once.
WRITER = """
import sys, time
from pathlib import Path
from braidcheck.ci import history
run, folder, shot = map(Path, sys.argv[1:])
while not shot.exists():
    time.sleep(0.005)
history.add(run, folder)
"""


def made(**more):
    verdict = Verdict(
        "speed", "decode", Status.PASS, "fine", value=80.0, unit="tok/s", higher_is_better=True, lane="gpu"
    )
    return Run(ENVIRONMENT | more, (verdict.id,), (verdict,))


@pytest.fixture
def file(tmp_path):
    def write(text=None, **more):
        path = tmp_path / "run.json"
        path.write_text(made(**more).to_json() if text is None else text)
        return path

    return write


def test_a_run_is_kept_as_it_is(file, tmp_path):
    added = history.add(file(), tmp_path / "a" / "history")
    assert added.read_text() == made().to_json()
    assert added.name.startswith("20261121T103616Z-dc37b668f99a-")
    assert history.runs(added.parent) == [made()]


def test_fifty_writers_at_once_lose_nothing(file, tmp_path):
    path, folder, shot = file(), tmp_path / "history", tmp_path / "shot"
    folder.mkdir()
    command = [sys.executable, "-c", WRITER, str(path), str(folder), str(shot)]
    writers = [subprocess.Popen(command) for _ in range(50)]
    shot.touch()
    while any(writer.poll() is None for writer in writers):
        history.read(folder)  # a reader never meets half a file
    assert [writer.returncode for writer in writers] == [0] * 50
    assert len(history.read(folder)) == len(list(folder.iterdir())) == 50


def test_a_run_added_twice_is_one_measurement(file, tmp_path):
    folder = tmp_path / "history"
    history.add(file(), folder)
    history.add(file(), folder)
    history.add(file(started="2026-11-22T10:36:16+00:00"), folder)
    assert (len(history.read(folder)), len(history.runs(folder))) == (3, 2)


def test_the_oldest_comes_first_whatever_its_zone(file, tmp_path):
    times = ["2026-11-21T10:00:00+00:00", "2026-11-21T09:00:00-03:00", "2026-11-21T12:30:00+02:00"]
    for time in times:
        history.add(file(started=time), tmp_path / "history")
    assert [run.environment["started"] for run in history.runs(tmp_path / "history")] == [times[0], times[2], times[1]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not complete JSON"),
        (made().to_json()[:-40], "not complete JSON"),
        ("[]", "not a braidcheck run"),
        ('{"format": 99}', "not a braidcheck run"),
        (Run({}, (), ()).to_json(), "where and when"),
        (made(started=None).to_json(), "started of environment must be str"),
        (made(started=5).to_json(), "started of environment must be str"),
        (made(started="yesterday").to_json(), "yesterday"),
        (made(started="nan").to_json(), "not a time"),
        (made(started="0001-01-01").to_json(), "not a possible time"),
        (made(started="9999-12-31T23:59:59-12:00").to_json(), "not a possible time"),
        (made(gpus=["H200"]).to_json(), "where and when"),
    ],
)
def test_what_is_no_run_is_not_added(file, tmp_path, text, says):
    with pytest.raises(UserError, match=says) as refused:
        history.add(file(text), tmp_path / "history")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "history").exists()


def test_the_age_is_that_of_the_newest(file, tmp_path):
    folder = tmp_path / "history"
    folder.mkdir()
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert history.age(folder, now) is None
    for started, hours in (("2026-11-20T12:00:00", 48), ("2026-11-22T11:00:00+02:00", 3), ("2026-11-21T00:00:00", 3)):
        history.add(file(started=started), folder)
        assert history.age(folder, now) == hours


def test_a_broken_file_in_a_history_is_named(file, tmp_path):
    added = history.add(file(), tmp_path / "history")
    added.write_text(added.read_text()[:100])
    with pytest.raises(UserError, match=added.name):
        history.read(tmp_path / "history")
    with pytest.raises(UserError, match="no history in"):
        history.read(tmp_path / "nowhere")


def test_merge_copies_what_is_not_there(file, tmp_path):
    one, two, all_of_it = (tmp_path / name for name in ("one", "two", "all"))
    history.add(file(), one)
    history.add(file(started="2026-11-20"), two)
    assert len(history.merge([one, two], all_of_it)) == 2
    assert history.merge([one, two, all_of_it], all_of_it) == []
    assert [entry.path.name for entry in history.read(all_of_it)] == [
        *(entry.path.name for entry in history.read(two)),
        *(entry.path.name for entry in history.read(one)),
    ]


def test_merge_refuses_a_changed_run_and_copies_nothing(file, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    added = history.add(file(), one)
    history.add(file(started="2026-11-20"), two)
    (two / added.name).write_text(made(started="2026-11-19").to_json())
    for sources in ([one, two], [two, one]):
        with pytest.raises(UserError, match="never change"):
            history.merge(sources, tmp_path / "all")
    with pytest.raises(UserError, match="never change"):
        history.merge([two], one)
    assert not (tmp_path / "all").exists()
    assert len(list(one.iterdir())) == 1


def test_merge_refuses_a_run_that_was_changed_in_one_digit(file, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    added = history.add(file(), one)
    two.mkdir()
    (two / added.name).write_text(added.read_text().replace('"value": 80.0', '"value": 90.0'))
    assert (two / added.name).stat().st_size == added.stat().st_size
    with pytest.raises(UserError, match="changed after it was written"):
        history.merge([two], one)
    (two / added.name).write_text(made(commit="c0ffee").to_json())
    with pytest.raises(UserError, match="never change"):
        history.merge([two], one)


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch):
    def full(path, text):
        if path.name == "c.json":
            raise OSError(28, "No space left on device")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    monkeypatch.setattr(history, "write_atomically", full)
    with pytest.raises(UserError, match="No space left"):
        history.store({"a.json": "{}", "b.json": "{}", "c.json": "{}"}, tmp_path / "history")
    assert list((tmp_path / "history").iterdir()) == []


def test_hardware_is_what_does_not_change_with_software():
    base = history.hardware(ENVIRONMENT)
    assert history.hardware(ENVIRONMENT | {"driver": "2", "libraries": {"torch": "3"}, "cpus": 3}) == base
    assert history.hardware(ENVIRONMENT | {"gpus": [{"name": "H100", "capability": "9.0"}]}) != base
    assert history.hardware(ENVIRONMENT | {"gpus": ENVIRONMENT["gpus"] * 2}) != base
    cores = [history.hardware(ENVIRONMENT | {"gpus": [], "cpus": count}) for count in (2, 4)]
    assert cores[0] != cores[1]


def test_the_file_name_carries_the_hardware(file, tmp_path):
    here, there = (
        history.add(file(**more), tmp_path / "history").name.split("-")[2]
        for more in ({}, {"gpus": json.loads('[{"name": "H100"}]')})
    )
    assert here != there


def test_a_number_stands_for_itself_and_a_time_for_its_seconds():
    assert history.timestamp("12.5") == 12.5
    assert history.timestamp("1970-01-02") == history.timestamp("1970-01-02T02:00:00+02:00") == 86400.0
    for text in ("nan", "inf", "soon"):
        with pytest.raises(ValueError, match=r".+"):
            history.timestamp(text)


def test_a_machine_is_its_gpus_processor_and_cores_or_what_it_is_called():
    gpus = [{"name": "H200", "memory": 141}, {"name": "H200", "memory": 141}]
    assert history.hardware({"hardware": "bench 3", "gpus": gpus}) == "bench 3"
    assert history.hardware({"gpus": gpus, "processor": "x86", "cpus": 8}) == "H200 141, H200 141, x86"
    assert history.hardware({"processor": "x86", "cpus": 8}) == "x86, 8 cores"
    assert history.hardware({}) == "unknown, unknown cores"


def test_a_run_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none"):
        history.add(tmp_path / "none.json", tmp_path / "history")
