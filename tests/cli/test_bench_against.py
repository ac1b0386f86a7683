"""``braidcheck bench OP FILE:FUNCTION --against FILE:OTHER``: its exit codes, and mistakes in the call."""

import json
from types import SimpleNamespace

import pytest

from braidcheck.cli import bench_against


@pytest.fixture
def session(monkeypatch, no_gpu):
    """Has every series find the same: ten restarts whose change takes ``ratio`` times the base's time, or trouble."""

    def make(ratio=1.0, trouble=None, spread=1e-5):
        turns = [{"base": [1.0] * 5, "change": [ratio * (1 + n * spread)] * 5, "discarded": 0} for n in range(10)]
        found = {"restarts": [] if trouble else turns, "trouble": trouble}

        class Session:
            def __init__(self, base, change, progress):
                self.commands = [side.command(None)[-2:] for side in (base, change)]

            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

            def measure(self, series, seconds):
                made.commands, made.series = self.commands, series
                return {one["name"]: found for one in series}

        made = SimpleNamespace()
        monkeypatch.setattr(bench_against, "Session", Session)
        return made

    return make


def go(run, *more):
    return run("bench", "rms_norm", "new.py:norm", "--against", "old.py:norm", *more)


def test_no_slower_is_0_and_slower_is_1(run, session):
    session(1.0)
    assert go(run).code == 0
    session(1.1)
    slower = go(run)
    assert slower.code == 1
    assert "slower by +10.0" in slower.out
    assert "this says nothing about a GPU" in slower.err


def test_what_could_not_be_decided_is_3(run, session):
    session(trouble={"side": "change", "said": "no driver"})
    assert go(run).code == 3
    session(1.0, spread=5e-3)
    assert go(run).code == 3


def test_the_other_one_is_the_base_and_all_is_saved(run, session, tmp_path):
    made = session(1.0)
    completed = go(run, "--json", "--save", tmp_path / "bench.json")
    assert made.commands == [["old.py:norm", "cpu"], ["new.py:norm", "cpu"]]
    assert made.series[0]["axes"] == {"T": 1, "H": 1024}
    verdict = json.loads(completed.out)["verdicts"][0]
    assert verdict["reproduce"] == "braidcheck bench rms_norm new.py:norm --against old.py:norm"
    assert json.loads((tmp_path / "bench.json").read_text())["verdicts"][0] == verdict


def test_a_call_without_two_functions_is_refused(refused):
    refused(2, "bench OP FILE.py:FUNCTION --against FILE.py:OTHER", "bench", "rms_norm", "--against", "f.py:g")
    refused(2, "omit --baselines", "bench", "rms_norm", "f.py:f", "--against", "f.py:g", "--baselines")
