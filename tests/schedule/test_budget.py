"""The order of a run that may not end, and what its time holds."""

from braidcheck.schedule.budget import MODEL, Budget, order

UNITS = {
    "coherence": [("coherence", "nano: kl"), ("coherence", "nano: nll")],
    "vacuity/lm_head": [("vacuity", "lm_head")],
    "engine/tiny": [("engine", "tiny")],
    "accuracy/rms_norm[long]": [("accuracy", "rms_norm[long]")],
    "accuracy/rms_norm[short]": [("accuracy", "rms_norm[short]")],
    "accuracy/lm_head[a]": [("accuracy", "lm_head[a]")],
    "fence/lm_head": [("fence", "lm_head")],
}
SECONDS = dict.fromkeys(UNITS, 1.0) | {"accuracy/rms_norm[long]": 9.0, "coherence": 60.0}


def test_budget_without_change_starts_with_most_sensitive_gates():
    assert order(UNITS, SECONDS, ()) == [
        "accuracy/lm_head[a]",
        "accuracy/rms_norm[short]",
        "accuracy/rms_norm[long]",
        "engine/tiny",
        "fence/lm_head",
        "coherence",
        "vacuity/lm_head",
    ]


def test_what_a_change_touches_comes_before_all_else():
    assert order(UNITS, SECONDS, ("rms_norm",))[:2] == ["accuracy/rms_norm[short]", "accuracy/rms_norm[long]"]
    assert order(UNITS, SECONDS, (MODEL,))[:2] == ["engine/tiny", "coherence"]


def test_budget_skips_units_that_do_not_fit():
    budget = Budget(deadline=100.0)
    budget.seconds = {"long": 60.0, "short": 5.0}
    assert not budget.fits("long", 50.0)
    assert budget.fits("short", 50.0)


def test_what_was_said_of_a_unit_holds_for_all_its_items():
    budget = Budget(deadline=100.0)
    budget.seconds = {"begun": 60.0, "skipped": 60.0}
    assert budget.fits("begun", 0.0)
    assert budget.fits("begun", 99.0)
    assert not budget.fits("skipped", 99.0)
    assert not budget.fits("skipped", 0.0)


def test_a_slow_machine_has_time_for_less():
    budget = Budget(deadline=100.0)
    budget.seconds = {"unit": 40.0}
    budget.took(usual=10.0, measured=60.0)
    assert not budget.fits("unit", 0.0)
