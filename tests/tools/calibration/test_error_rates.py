"""The calibration's arithmetic, on restarts that are made up."""

import random

import pytest

from braidcheck.errors import UserError
from braidcheck.gates.paired import LOOKS
from tools.calibration.error_rates import begun, interval, pool, render, rows, verdicts

HERE = {"gpus": [{"name": "a GPU"}], "started": "now", "libraries": {"torch": "2", "triton": "3"}}


def found(slower, count, us=30.0, seed=7):
    """Restarts of one series, each with a layout of its own."""
    layouts = random.Random(seed)
    ratios = [1 + slower + layouts.gauss(0, 0.001) for _ in range(count)]
    restarts = [{"base": [1e-6 * us] * 5, "change": [1e-6 * us * ratio] * 5} for ratio in ratios]
    return {"restarts": restarts, "trouble": None}


def result(slower, count, percent="0", **more):
    return begun(HERE) | {"rows": {percent: rows({"op[a]": found(slower, count, **more)}, 4)}}


def test_verdicts_do_not_share_process_pairs():
    calm = random.Random(7)
    assert verdicts([calm.gauss(0, 0.001) for _ in range(65)], 4) == ["pass"] * (65 // LOOKS[0])
    assert verdicts([calm.gauss(0.03, 0.001) for _ in range(25)], 4) == ["fail"] * (25 // LOOKS[0])
    assert verdicts([calm.gauss(0, 0.1) for _ in range(65)], 4) == ["inconclusive"]


def test_a_row_is_what_was_put_in():
    row = rows({"op[a]": found(0.02, 65), "cut short": found(0.02, 1), "not timed": found(0.02, 0)}, 4)
    assert row.keys() == {"op[a]"}
    assert row["op[a]"]["us"] == pytest.approx(30.0)
    assert row["op[a]"]["slower_percent"] == pytest.approx(2.0, abs=0.05)
    assert row["op[a]"]["spread_percent"] == pytest.approx(0.1, abs=0.03)
    assert row["op[a]"]["verdicts"] == {"fail": 6}


def test_pooling_counts_every_verdict_and_makes_none():
    """19 restarts twice are one verdict twice, not three of 38."""
    one, other = result(0.0, 19), result(0.0, 19, seed=8)
    row = pool([one, other])["rows"]["0"]["op[a]"]
    assert row["verdicts"] == {"pass": 2}
    assert row["restarts"] == 38
    assert row["ratios"] == one["rows"]["0"]["op[a]"]["ratios"] + other["rows"]["0"]["op[a]"]["ratios"]


def test_what_was_left_out_once_and_came_once_is_not_left_out():
    first = begun(HERE) | {"left out": {"2": {"op[a]": None, "op[b]": 5.0}}}
    assert pool([first, result(0.02, 20, "2")])["left out"] == {"2": {"op[b]": 5.0}}


def test_results_of_several_gpus_are_not_pooled():
    with pytest.raises(UserError, match="of one kind of GPU"):
        pool([begun(HERE), begun(HERE | {"gpus": [{"name": "another"}]})])
    with pytest.raises(UserError, match="none"):
        pool([])


def test_the_page_says_so():
    small = rows({"op[small]": found(0.02, 20, us=5.0)}, 4)
    inject_slowdown = result(0.02, 65, "2")
    inject_slowdown["rows"]["2"] |= small
    page = render(pool([result(0.0, 65), inject_slowdown]))
    assert "# The paired gate's error rates: a GPU" in page
    assert "0 red of 6 verdicts, 6 green: 0 red per 1,000 (95%: 0.0 to 459.3)" in page
    assert "8 red of 8 verdicts" in page
    assert "Of kernels above 20 us: 6 red of 6 verdicts" in page
    assert "| op[a] | 30.00 |" in page


def test_intervals_are_the_textbooks():
    assert interval(0, 3000) == pytest.approx((0.0, 0.00123), abs=1e-5)
    assert interval(5, 10) == pytest.approx((0.187, 0.813), abs=1e-3)
    assert interval(10, 10) == pytest.approx((0.692, 1.0), abs=1e-3)
    assert interval(0, 0) == (0.0, 1.0)
