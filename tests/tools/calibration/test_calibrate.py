"""A whole calibration on a GPU that is made up, and its command."""

import json
import math
import random

import pytest

from tools.calibration import calibrate as module
from tools.calibration.calibrate import PROBES, calibrate, main
from tools.calibration.error_rates import begun, render

US = {"rms_norm[a]": 5.0, "rms_norm[b]": 30.0, "lm_head[a]": 90.0, "cache_write[a]": 2.0, "qkv_rope[a]": 40.0}
SLOWER = {  # by so many multiply-adds, as a fraction
    "rms_norm[b]": lambda amount: amount / 4000,
    "lm_head[a]": lambda amount: 0.3 * (1 - math.exp(-amount / 50)),
    "cache_write[a]": lambda amount: -0.001,
    "qkv_rope[a]": lambda amount: max(0, amount - 300) / 1000,
}
HERE = {"gpus": [], "started": "now", "libraries": {"torch": "2", "triton": "3"}}


class MadeUp:
    """A GPU on which work costs what SLOWER says, and in ``qkv_rope`` twice that as soon as it runs for long."""

    def __init__(self):
        self.series = [{"name": name, "op": name.split("[")[0], "axes": {}} for name in US]
        self.random = random.Random(7)
        self.time = 1e6
        self.tried = []

    def left(self):
        self.time -= 1
        return self.time

    def pairs(self, series, turns, seconds, most):
        found = {}
        self.tried += turns if most == PROBES else ()
        for one in series:
            slower = SLOWER[one["name"]](turns[one["name"]]) if turns else 0.0
            if one["op"] == "qkv_rope" and most > PROBES:
                slower *= 2
            base = 1e-6 * US[one["name"]]
            restarts = []
            for _ in range(min(most, 65)):
                layout = self.random.gauss(0, 0.001)
                restarts.append({"base": [base] * 5, "change": [base * (1 + slower + layout)] * 5})
            found[one["name"]] = {"restarts": restarts, "trouble": None}
        return found


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr(module, "fingerprint", lambda: HERE)


@pytest.fixture
def result():
    return calibrate(MadeUp())


def test_false_alarms_and_power_are_counted(result):
    assert result["rows"]["0"].keys() == US.keys()
    for percent in ("1", "2", "5"):  # above 20 us, and where the work came to what was asked
        rows = result["rows"][percent]
        assert rows.keys() >= {"rms_norm[b]", "lm_head[a]"}
        assert all(0.7 < row["slower_percent"] / float(percent) < 1.5 for row in rows.values())
    assert all(row["verdicts"] == {"pass": 6} for row in result["rows"]["0"].values())
    assert all(row["verdicts"] == {"fail": 6} for percent in "25" for row in result["rows"][percent].values())


def test_what_came_to_something_else_is_left_out_and_said():
    result = calibrate(MadeUp(), (2.0,))
    names = result["left out"]["2"]
    assert names.keys() == {"cache_write[a]", "qkv_rope[a]"}
    assert names["cache_write[a]"] is None
    assert 3 < names["qkv_rope[a]"] < 6
    page = render(result)
    assert "Left out of 2%: cache_write[a], where no work was found to come near it." in page
    came = result["left out"]["2"]["qkv_rope[a]"]
    assert f"Left out of 2%: qkv_rope[a], where the work put in came to {came:+.2f}%." in page


def test_calibration_without_slowdowns_measures_false_alarms():
    work = MadeUp()
    result = calibrate(work, ())
    assert list(result["rows"]) == ["0"]
    assert (work.tried, result["points"]) == ([], {})


def test_what_an_earlier_calibration_found_is_not_looked_for_again():
    first = MadeUp()
    points = calibrate(first, (2.0,))["points"]
    again = MadeUp()
    assert calibrate(again, (2.0,), points)["rows"]["2"].keys() >= {"rms_norm[b]", "lm_head[a]"}
    assert {"rms_norm[b]", "lm_head[a]"} <= set(first.tried)
    assert not {"rms_norm[b]", "lm_head[a]"} & set(again.tried)


def test_calibration_uses_measured_slowdown_over_probe():
    """``qkv_rope`` comes to twice what its probes said; by the next slow-down that is known."""
    result = calibrate(MadeUp(), (1.0, 2.0))
    assert "qkv_rope[a]" in result["left out"]["1"]
    assert "qkv_rope[a]" in result["rows"]["2"]


@pytest.fixture
def earlier(result, tmp_path):
    path = tmp_path / "earlier.json"
    path.write_text(json.dumps(result))
    return path


def test_earlier_results_are_put_together_without_a_gpu(earlier, tmp_path, capsys):
    assert main(["--minutes", "0", "--earlier", str(earlier), str(earlier), "--out", str(tmp_path / "out")]) == 0
    assert "0 red of 60 verdicts, 60 green" in capsys.readouterr().out
    (made,) = (tmp_path / "out").glob("*.json")
    assert main(["--minutes", "0", "--earlier", str(made), str(earlier), "--out", str(tmp_path / "more")]) == 0
    assert "0 red of 90 verdicts" in capsys.readouterr().out


def test_another_gpus_results_are_refused_before_the_time_is_spent(earlier, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "fingerprint", lambda: HERE | {"gpus": [{"name": "another"}]})
    monkeypatch.setattr(module, "Calibration", None)
    with pytest.raises(SystemExit):
        main(["--earlier", str(earlier), "--out", str(tmp_path / "out")])
    assert "of one kind of GPU can be put together, these are of ['another', 'no GPU']" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_no_result_is_one_line(tmp_path, capsys):
    for text in ("{", "[]", json.dumps(begun(HERE) | {"points": None})):
        (tmp_path / "odd.json").write_text(text)
        with pytest.raises(SystemExit):
            main(["--minutes", "0", "--earlier", str(tmp_path / "odd.json")])
        assert "is not a calibration result: give a file that nox -s calibrate wrote" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--minutes", "0"])
    assert "none" in capsys.readouterr().err
