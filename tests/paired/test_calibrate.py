"""The calibration's arithmetic, on restarts that are made up."""

import random

import pytest

from braidcheck.gates.paired import LOOKS
from braidcheck.paired import calibrate as module
from braidcheck.paired.calibrate import PROBE, calibrate, interval, render, verdicts

US = {"rms_norm[a]": 5.0, "rms_norm[b]": 30.0, "lm_head[a]": 90.0, "cache_write[a]": 2.0}


class MadeUp:
    """A GPU on which 400 multiply-adds cost 10% of every kernel, except of one that hides them."""

    def __init__(self):
        self.series = [{"name": name, "op": name.split("[")[0], "axes": {}} for name in US]
        self.random = random.Random(7)
        self.asked = []

    def left(self):
        return 100.0

    def pairs(self, series, turns, seconds, most):
        self.asked.append(turns)
        found = {}
        for one in series:
            slower = 0.1 * turns.get(one["op"], 0) / PROBE if one["op"] != "cache_write" else -0.001
            base = 1e-6 * US[one["name"]]
            restarts = []
            for _ in range(min(most, 65)):
                layout = self.random.gauss(0, 0.001)
                restarts.append({"base": [base] * 5, "change": [base * (1 + slower + layout)] * 5})
            found[one["name"]] = {"restarts": restarts, "trouble": None}
        return found


@pytest.fixture
def result(monkeypatch):
    monkeypatch.setattr(
        module, "fingerprint", lambda: {"gpus": [], "started": "now", "libraries": {"torch": "", "triton": ""}}
    )
    return calibrate(MadeUp())


def test_every_verdict_takes_restarts_of_its_own():
    found = MadeUp().pairs([{"name": "lm_head[a]", "op": "lm_head"}], {}, 1.0, 10**9)["lm_head[a]"]
    assert verdicts(found, 4) == ["pass"] * (65 // LOOKS[0])


def test_false_alarms_and_power_are_counted(result):
    assert result["rows"]["0"].keys() == US.keys()
    assert result["rows"]["2"].keys() == {"rms_norm[b]", "lm_head[a]"}  # above 20 us, and where extra work shows
    assert result["rows"]["2"]["rms_norm[b]"]["slower_percent"] == pytest.approx(2.0, abs=0.2)
    assert all(row["verdicts"] == {"pass": 6} for row in result["rows"]["0"].values())
    assert all(row["verdicts"] == {"fail": 6} for percent in "25" for row in result["rows"][percent].values())
    assert result["no slow-down could be made"] == ["cache_write[a]"]


def test_the_page_says_so(result):
    page = render(result)
    assert "0 red of 24 verdicts, 24 green: 0 red per 1,000 (95%: 0.0 to 142.5)" in page
    assert "12 red of 12 verdicts" in page
    assert "| rms_norm[b] | 30.00 |" in page
    assert "Extra work did not show in cache_write[a]" in page


def test_intervals_are_the_textbooks():
    assert interval(0, 3000) == pytest.approx((0.0, 0.00123), abs=1e-5)
    assert interval(5, 10) == pytest.approx((0.187, 0.813), abs=1e-3)
    assert interval(10, 10) == pytest.approx((0.692, 1.0), abs=1e-3)
    assert interval(0, 0) == (0.0, 1.0)
