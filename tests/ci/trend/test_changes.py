"""The change-point search: what it must see, and what it must not take for a change."""

import time

import numpy as np
import pytest
from scipy.special import stdtr

from braidcheck.ci.trend import changes

EPS = np.finfo(float).eps


def noise(seed, nights=60, sigma=0.005):
    return np.random.default_rng(seed).normal(size=nights) * sigma


def stepped(logs, at, step):
    return logs + step * (np.arange(len(logs)) >= at)


@pytest.mark.parametrize("step", [0.02, -0.02, 0.1, -0.1])
def test_a_step_is_found_dated_and_measured(step):
    for seed in range(10):
        (found,) = changes.find(stepped(noise(seed), 40, step))
        assert abs(found.index - 40) <= 3
        assert found.step == pytest.approx(step, abs=0.005)  # 3.6 standard deviations
        assert (found.start, found.end) == (0, 60)
        assert 0.99 < found.confidence < 1 or found.p < 1e-15


def test_a_level_that_goes_and_returns_is_two_changes():
    logs = stepped(stepped(noise(1, 90), 30, 0.03), 60, -0.03)
    assert [change.index for change in changes.find(logs)] == pytest.approx([30, 60], abs=1)


@pytest.mark.parametrize(("percent", "found"), [(0.9, 0), (1.1, 1)])
def test_the_floor_is_one_percent(percent, found):
    logs = stepped(noise(2, sigma=0.0003), 30, np.log1p(percent / 100))
    assert len(changes.find(logs)) == found


def test_three_nights_confirm_and_two_do_not():
    logs = stepped(noise(3, 43), 40, 0.05)
    assert not changes.find(logs[:42])
    assert [change.index for change in changes.find(logs)] == [40]


@pytest.mark.parametrize("spikes", [(38,), (37, 39), (39, 38), (20, 22), (36, 37, 39)])
def test_spikes_are_not_levels(spikes):
    for height in (0.03, 0.1):
        logs = noise(4, 40, 0.003)
        logs[list(spikes)] += height * np.linspace(1, 1.6, len(spikes))
        assert not changes.find(logs)


def test_a_spike_does_not_hide_a_step():
    logs = stepped(noise(5, 46, 0.003), 40, 0.03)
    logs[[20, 43]] += 0.1
    assert [change.index for change in changes.find(logs)] == [40]


def correlated(seed, phi=0.7, nights=150):
    logs = noise(seed, nights, 0.005)
    for night in range(1, nights):
        logs[night] = phi * logs[night - 1] + (1 - phi**2) ** 0.5 * logs[night]
    return logs


def test_nights_that_resemble_each_other_are_less_evidence(monkeypatch):
    def found():
        return sum(len(changes.find(correlated(seed)[:night])) for seed in range(10) for night in range(60, 151, 2))

    assert found() <= 5
    read = changes._noise
    monkeypatch.setattr(changes, "_noise", lambda *given: changes.Noise(read(*given).sigma, 0.0))
    assert found() >= 20, "were they not correlated, these would be changes"


def test_exact_numbers():
    assert changes.find(np.zeros(50)) == []
    (found,) = changes.find(stepped(np.zeros(20), 10, 0.05))
    assert (found.index, found.step) == (10, pytest.approx(0.05))


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("spikes", [(), (5, 6, 31)])
def test_a_step_is_the_generalised_least_squares_one(phi, spikes):
    """With the nights' covariance written out, sigma^2 phi^|i - j|, instead of whitened."""
    logs, at, sigma = stepped(noise(8, 40, 0.004), 22, 0.02), 22, 0.01
    kept = [night for night in range(40) if night not in spikes]
    logs[list(spikes)] += 1.0
    of_nights = sigma**2 * phi ** np.abs(np.subtract.outer(kept, kept))
    inverse = np.linalg.inv(of_nights)
    design = np.array([[1.0, night >= at] for night in kept])
    normal = design.T @ inverse @ design
    covariance = np.linalg.inv(normal)
    step = (covariance @ design.T @ inverse @ logs[kept])[1]
    found = changes._test(logs, 0, at, 40, changes.Noise(sigma, phi))
    # Of sums over nights and two inversions in float64. Student's tail falls as the power ``freedom`` at most.
    rounding = len(kept) * EPS * np.linalg.cond(of_nights) * np.linalg.cond(normal)
    freedom = len(logs) / 2
    assert found.step == pytest.approx(step, rel=rounding)
    assert found.p == pytest.approx(2 * stdtr(freedom, -step / covariance[1, 1] ** 0.5), rel=freedom * rounding)


def test_too_few_nights_say_nothing():
    assert changes.find(np.array([])) == []
    assert changes.find(stepped(np.zeros(changes.MIN_NIGHTS - 1), 5, 1.0)) == []


def test_more_nights_make_it_surer():
    logs = stepped(noise(7, 80, 0.008), 60, 0.02)
    early, late = (changes.find(logs[:night])[0].confidence for night in (68, 80))
    assert early < late


@pytest.mark.parametrize("phi", [0.0, 0.6])
def test_short_history_needs_larger_change(phi):
    short = [correlated(seed, phi)[:night] for seed in range(150) for night in range(10, 20)]
    assert sum(len(changes.find(logs)) for logs in short) <= 2
    assert all(changes.find(stepped(noise(seed, 18, 0.003), 12, 0.05)) for seed in range(10))


def test_five_years_of_nights_take_milliseconds():
    series = [stepped(correlated(seed, 0.5, 1826), 1700, 0.03) for seed in range(10)]
    began = time.process_time()
    assert all(changes.find(logs) for logs in series)
    # 300 of them in 30 s on 2 cores leaves 100 ms each, reading included.
    assert time.process_time() - began < 10 * 0.05


def test_nights_that_all_stand_out_have_no_spread():
    assert changes._spread(np.arange(4.0), np.ones(4, dtype=bool), [1]) == 0.0


def test_the_spread_is_that_of_one_night():
    logs = np.random.default_rng(3).normal(size=20_000)
    spread = changes._spread(logs, np.zeros(len(logs), dtype=bool), [1, 2])
    assert spread == pytest.approx(1.0, abs=0.03)
