"""The paired gate: its error rates on thousands of simulated series, and what it says of evidence that is not whole."""

import copy
import math

import numpy as np
import pytest

from braidcheck.gates import paired
from braidcheck.result import Status

SERIES, ROUNDS = 40, 5


def simulate(count, slower, kind, rng, between=0.002, within=0.004):
    """Log ratios [count, restarts] of turns with noise of one kind; each process has a layout of its own."""
    shape = count, paired.LOOKS[-1], 2 * ROUNDS
    turns = rng.normal(0, within, shape)
    if kind == "drift":  # 1% within every restart, as of a GPU that warms up
        turns += np.linspace(0, 0.01, 2 * ROUNDS)
    if kind == "autocorrelated":
        turns += np.cumsum(rng.normal(0, within / 2, shape), axis=-1)
    if kind == "outliers":
        turns += (rng.random(shape) < 0.05) * rng.exponential(0.1, shape)
    layout = rng.normal(0, between / math.sqrt(2), (*shape[:2], 2))
    if kind == "outliers":
        layout += (rng.random(layout.shape) < 0.02) * 0.03
    first = rng.integers(0, 2, (*shape[:2], ROUNDS))  # which side goes first
    place = 2 * np.arange(ROUNDS)
    base = np.take_along_axis(turns, place + first, axis=-1)
    change = np.take_along_axis(turns, place + 1 - first, axis=-1)
    return np.median(change - base, axis=-1) + layout[..., 1] - layout[..., 0] + math.log1p(slower)


KINDS = ("plain", "drift", "autocorrelated", "outliers")


@pytest.mark.parametrize("kind", KINDS)
def test_no_false_alarm_in_a_thousand_clean_series(kind):
    ratios = simulate(1000, 0.0, kind, np.random.default_rng(1))
    statuses = [paired.decide(list(one), SERIES).status for one in ratios]
    assert statuses.count(Status.FAIL) == 0
    assert statuses.count(Status.PASS) >= 950


@pytest.mark.parametrize("kind", KINDS)
def test_two_percent_are_seen(kind):
    ratios = simulate(300, 0.02, kind, np.random.default_rng(2))
    statuses = [paired.decide(list(one), SERIES).status for one in ratios]
    assert statuses.count(Status.FAIL) >= 0.95 * len(statuses)
    assert statuses.count(Status.PASS) == 0


def test_at_the_floor_itself_the_alarms_stay_below_what_is_stated():
    from scipy.stats import t as student

    """The worst honest change, slower by just what is allowed: looked at five times, still one in a thousand."""
    rng = np.random.default_rng(3)
    ratios = paired.FLOOR + rng.normal(0, 0.004, (20_000, paired.LOOKS[-1]))
    near = np.zeros(len(ratios), dtype=bool)
    for look in paired.LOOKS:  # 20,000 decisions take long: here are all that could be red at a level of 2% a look
        seen = ratios[:, :look]
        error = seen.std(axis=1, ddof=1) / math.sqrt(look)
        near |= seen.mean(axis=1) - student.isf(0.02, look - 1) * error > paired.FLOOR
    statuses = [paired.decide(list(one), 1).status for one in ratios[near]]
    assert 0 < statuses.count(Status.FAIL) <= 33  # at most 20 are expected, and 33 or more in one of 200 runs


def test_a_slow_down_of_the_margin_seldom_passes():
    rng = np.random.default_rng(4)
    ratios = paired.MARGIN + rng.normal(0, 0.004, (1000, paired.LOOKS[-1]))
    statuses = [paired.decide(list(one), SERIES).status for one in ratios]
    assert statuses.count(Status.PASS) <= 1000 * paired.MISS


def test_sequential_timing_would_have_cried_wolf():
    """What the interleaving is for: base first, change after it, under the drift that the gate withstands."""
    rng = np.random.default_rng(5)
    turns = rng.normal(0, 0.004, (200, paired.LOOKS[-1], 2 * ROUNDS)) + np.linspace(0, 0.02, 2 * ROUNDS)
    ratios = np.median(turns[..., ROUNDS:], axis=-1) - np.median(turns[..., :ROUNDS], axis=-1)
    statuses = [paired.decide(list(one), SERIES).status for one in ratios]
    assert statuses.count(Status.FAIL) > 190


def test_more_series_ask_for_more_evidence():
    ratios = [0.02 + 0.004 * math.sin(i) for i in range(10)]
    one, many = paired.decide(ratios, 1), paired.decide(ratios, 1000)
    assert many.low < one.low
    assert one.high == many.high


def test_first_decisive_interim_look_decides():
    slow, rest = [0.03, 0.031] * 5, [0.0] * 30
    assert paired.decide(slow + rest, 1).status == Status.FAIL
    assert paired.decide(slow + rest, 1).count == paired.LOOKS[0]


def evidence(change=1.0e-5, restarts=10):
    turns = {"base": [1.0e-5, 1.001e-5, 0.999e-5], "change": [change, change * 1.001, change * 0.999]}
    return {"series": {"op[a]": {"restarts": [copy.deepcopy(turns) for _ in range(restarts)], "trouble": None}}}


def evaluated(given, names=("op[a]",)):
    (verdict,) = paired.evaluate(given, names=names)
    return verdict


def test_values_and_messages():
    for number, one in enumerate(evidence()["series"]["op[a]"]["restarts"]):
        one["change"][0] *= 1 + number / 1e4
    good, bad = evaluated(evidence()), evaluated(evidence(change=1.03e-5))
    assert (good.status, bad.status) == (Status.PASS, Status.FAIL)
    assert bad.value == pytest.approx(1.03)
    assert "slower by +3.00%" in bad.message
    assert {"interval", "smallest", "base_us", "change_us", "restarts"} <= bad.metrics.keys()


def test_a_message_says_what_its_status_rests_on():
    clean = evidence()
    for number, one in enumerate(clean["series"]["op[a]"]["restarts"]):
        one["change"] = [time * (1 + (-1) ** number / 1e4) for time in one["change"]]
    good = evaluated(clean)
    assert good.status == Status.PASS
    assert "a slow-down of 1% is excluded" in good.message
    wide = evidence()
    for number, one in enumerate(wide["series"]["op[a]"]["restarts"]):
        one["change"] = [time * (1 + (-1) ** number / 5) for time in one["change"]]
    unknown = evaluated(wide)
    assert unknown.status == Status.INCONCLUSIVE
    assert ", between " in unknown.message
    assert "smallest detectable slowdown is +" in unknown.message


def outcome(given):
    """The status; a gate that raises is an error of its item, so no silent pass either."""
    try:
        return evaluated(given).status
    except (AttributeError, TypeError):
        return Status.ERROR


def test_what_was_not_measured_is_never_green():
    """Each part of the evidence disabled, emptied or broken in turn: no silent pass."""
    broken = []

    def damage(path, value):
        given = evidence()
        inner = given
        for key in path[:-1]:
            inner = inner[key]
        if value is KeyError:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        broken.append((path, value, outcome(given)))

    one = ("series", "op[a]")
    bad = (KeyError, None, [], {}, "", math.nan)
    for value in bad:
        damage(("series",), value)
        damage(one, value)
        damage((*one, "restarts"), value)
        for side in ("base", "change"):
            damage((*one, "restarts", 3, side), value)
            damage((*one, "restarts", 3, side, 1), value)
    for value in (0.0, -1e-5, math.inf):
        for side in ("base", "change"):
            damage((*one, "restarts", 3, side, 1), value)
    for side in ("base", "change"):
        damage((*one, "trouble"), {"side": side, "said": "it died"})
    broken.append(("too few", 9, evaluated(evidence(restarts=9)).status))
    broken.append(("reason", "none", evaluated(evidence() | {"reason": "no GPU"}).status))
    broken.append(("absent", "name", evaluated(evidence(), names=("another[a]",)).status))
    assert len(broken) == 6 * 7 + 6 + 2 + 3
    assert [row for row in broken if row[2] == Status.PASS] == []


def test_what_is_skipped_is_only_what_the_base_or_the_machine_spoiled():
    """A change that cannot be timed must be red: a skipped verdict would let it pass."""
    assert evaluated(evidence(), names=("another[a]",)).status == Status.ERROR
    assert evaluated({"series": None}).status == Status.ERROR
    statuses = {"change": Status.ERROR, "base": Status.SKIPPED}
    for side, status in statuses.items():
        given = evidence()
        given["series"]["op[a]"]["trouble"] = {"side": side, "said": "it died"}
        verdict = evaluated(given)
        assert (verdict.status, verdict.message) == (status, f"it died ({side}, against the base)")
    given = evidence()
    given["series"]["op[a]"]["restarts"][3]["change"][1] = 0.0
    assert evaluated(given).status == Status.ERROR
    assert evaluated(evidence(restarts=9)).status == Status.INCONCLUSIVE
    assert evaluated(evidence() | {"reason": "no GPU"}).status == Status.SKIPPED


@pytest.mark.parametrize(
    ("base", "change", "status"),
    [
        ({"launches": 5}, {"launches": 5}, Status.PASS),
        ({"launches": 5}, {"launches": 4}, Status.PASS),
        ({"launches": 5}, {"launches": 6}, Status.FAIL),
        ({"launches": 5, "copies": 0}, {"launches": 4, "copies": 1}, Status.FAIL),
        ({"launches": 5}, {"launches": 5, "copies": 0}, Status.ERROR),
    ],
)
def test_one_host_call_more_than_the_base_fails(base, change, status):
    given = evidence()
    given["series"]["op[a]"]["counts"] = {"base": base, "change": change}
    assert evaluated(given).status == status


@pytest.mark.parametrize("series", [1, 5, 10, 11, 1000])
def test_bounds_are_students_at_the_level_that_is_left_for_a_look(series):
    from scipy.stats import t as student

    ratios = [0.02 + 0.004 * math.sin(i) for i in range(12)]
    first = np.array(ratios[:10])
    error = first.std(ddof=1) / math.sqrt(10)
    level = min(1e-3, 1e-2 / series) / 5
    red, green, seen = (student.isf(each, 9) * error for each in (level, 0.05 / 5, 0.05))
    found = paired.decide(ratios, series)
    assert found.count == 10
    assert found.mean == pytest.approx(first.mean())
    assert found.low == pytest.approx(first.mean() - red)
    assert found.high == pytest.approx(first.mean() + green)
    assert found.smallest == pytest.approx(math.log(1.005) + red + seen)


def test_a_mean_above_the_floor_alone_decides_nothing():
    ratios = [0.008 + 0.004 * math.sin(i) for i in range(10)]
    found = paired.decide(ratios, 1)
    assert found.low < paired.FLOOR < found.mean
    assert found.status == Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("restarts", "status", "more"),
    [(0, Status.INCONCLUSIVE, True), (9, Status.INCONCLUSIVE, True), (10, Status.PASS, False)],
)
def test_a_series_is_timed_until_it_is_decided(restarts, status, more):
    found = evidence(restarts=restarts)["series"]["op[a]"]
    assert paired.decide(paired.log_ratios(found["restarts"]), 1).status == status
    assert paired.undecided(found, 1) is more
    assert paired.undecided(found | {"trouble": {"side": "base", "said": "it died"}}, 1) is False


def test_a_series_that_nothing_decides_ends_after_the_last_look():
    one, other = (evidence(change=change)["series"]["op[a]"]["restarts"][0] for change in (1.000e-5, 1.018e-5))
    restarts = [one, other] * 20
    assert paired.decide(paired.log_ratios(restarts), 1).status == Status.INCONCLUSIVE
    assert paired.undecided({"restarts": restarts[:39], "trouble": None}, 1) is True
    assert paired.undecided({"restarts": restarts, "trouble": None}, 1) is False


def test_times_are_medians_in_microseconds():
    metrics = evaluated(evidence(change=1.03e-5)).metrics
    assert metrics["base_us"] == pytest.approx(10.0, rel=1e-9)
    assert metrics["change_us"] == pytest.approx(10.3, rel=1e-9)


def test_data_are_looked_at_five_times():
    undecided = [0.0, 0.018] * 25
    assert [paired.decide(undecided[:count], 1).count for count in (14, 15, 19, 20, 39, 40, 50)] == [
        10, 15, 15, 20, 30, 40, 40,
    ]  # fmt: skip


def test_counts_are_kept_whatever_the_verdict():
    given = evidence()
    counts = given["series"]["op[a]"]["counts"] = {"base": {"launches": 5}, "change": {"launches": 5}}
    assert evaluated(given).metrics["counts"] == counts
    assert "counts" not in evaluated(evidence()).metrics


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (Status.FAIL, "slower by +2.02%, at least +1.01% after 10 restarts; 0.5% is allowed"),
        (Status.PASS, "+2.02%, at most +3.05% after 10 restarts; a slow-down of 1% is excluded"),
        (
            Status.INCONCLUSIVE,
            "+2.02%, between +1.01% and +3.05% after 10 restarts; smallest detectable slowdown is +4.08%",
        ),
    ],
)
def test_each_decision_is_told_by_the_bound_that_made_it(status, says):
    assert paired._message(paired.Decision(status, 10, 0.02, 0.01, 0.03, 0.04)) == says
