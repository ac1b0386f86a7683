"""The calibration's arithmetic, on restarts that are made up."""

import math
import random

import pytest

from braidcheck.gates.paired import LOOKS
from braidcheck.paired import calibrate as module
from braidcheck.paired.calibrate import PROBES, calibrate, interval, render, verdicts

US = {"rms_norm[a]": 5.0, "rms_norm[b]": 30.0, "lm_head[a]": 90.0, "cache_write[a]": 2.0, "qkv_rope[a]": 40.0}
SLOWER = {  # by so many multiply-adds, as a fraction
    "rms_norm": lambda amount: amount / 4000,
    "lm_head": lambda amount: 0.3 * (1 - math.exp(-amount / 50)),
    "cache_write": lambda amount: -0.001,
    "qkv_rope": lambda amount: max(0, amount - 300) / 1000,
}


class MadeUp:
    """A GPU on which work costs what SLOWER says, and in ``qkv_rope`` twice that as soon as it runs for long."""

    def __init__(self):
        self.series = [{"name": name, "op": name.split("[")[0], "axes": {}} for name in US]
        self.random = random.Random(7)
        self.time = 1e6

    def left(self):
        self.time -= 1
        return self.time

    def pairs(self, series, turns, seconds, most):
        found = {}
        for one in series:
            slower = SLOWER[one["op"]](turns[one["op"]]) if turns else 0.0
            if one["op"] == "qkv_rope" and most > PROBES:
                slower *= 2
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
    for percent in ("1", "2", "5"):  # above 20 us, and where the work came to what was asked
        rows = result["rows"][percent]
        assert rows.keys() == {"rms_norm[b]", "lm_head[a]"}
        assert all(0.7 < row["slower_percent"] / float(percent) < 1.5 for row in rows.values())
    assert all(row["verdicts"] == {"pass": 6} for row in result["rows"]["0"].values())
    assert all(row["verdicts"] == {"fail": 6} for percent in "25" for row in result["rows"][percent].values())


def test_what_came_to_something_else_is_left_out_and_said(result):
    for percent, names in result["left out"].items():
        assert names.keys() == {"cache_write[a]", "qkv_rope[a]"}
        assert names["cache_write[a]"] is None
        assert 1.5 < names["qkv_rope[a]"] / float(percent) < 3
    page = render(result)
    assert "Left out of 2%: cache_write[a], where no work was found to come near it." in page
    came = result["left out"]["2"]["qkv_rope[a]"]
    assert f"Left out of 2%: qkv_rope[a], where the work put in came to {came:+.2f}%." in page


def test_the_page_says_so(result):
    page = render(result)
    assert "0 red of 30 verdicts, 30 green: 0 red per 1,000 (95%: 0.0 to 115.7)" in page
    assert "12 red of 12 verdicts" in page
    assert "| rms_norm[b] | 30.00 |" in page


def test_intervals_are_the_textbooks():
    assert interval(0, 3000) == pytest.approx((0.0, 0.00123), abs=1e-5)
    assert interval(5, 10) == pytest.approx((0.187, 0.813), abs=1e-3)
    assert interval(10, 10) == pytest.approx((0.692, 1.0), abs=1e-3)
    assert interval(0, 0) == (0.0, 1.0)
