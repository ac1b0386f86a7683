"""The HTML report without a browser: what it holds, how large it is, and that text stays text."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from braidcheck.ci.trend.evaluate import evaluate
from braidcheck.report import page
from braidcheck.report.page import sections, trends
from braidcheck.result import Run, Status


class Tags(HTMLParser):
    """Collects the tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.inside = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text += data


def of_history(runs, **more):
    return page.render(page.Subject("history", runs[-1], runs, evaluate(runs), **more))


def test_page_starts_with_suspect_ops(broken):
    text = Tags(page.render(page.Subject("run", broken))).text
    heads = [text.index(said) for said in ("FAIL", "qkv_rope is to blame", "What is wrong", "Headroom of the ops")]
    assert heads == sorted(heads)
    for said in (
        "qkv_rope[b]",
        "qkv_rope is 9.0 times its bound",
        "9 (limit <= 1) error ratio",
        "-800%",
        "2 of 3",
        "braidcheck/kernels/qkv_rope/kernel.py:",
        "braidcheck gate --op qkv_rope -k 'qkv_rope[b]'",
        "interpret/accuracy/lost",
        "large cases need a GPU",
    ):
        assert said in " ".join(text.split()), said


def test_a_green_run_is_small_and_says_what_it_lacks(green):
    made = page.render(page.Subject("run", green))
    assert len(made) < 100_000
    assert "What is wrong" not in made
    for name in ("trend", "the model by position", "measured limits", "kill matrix"):
        assert f"Not in this report: {name}: " in made


def test_a_year_of_24_series_fits_into_2_mb(nights):
    made = of_history(nights(24, 365))
    assert len(made.encode()) <= 2_000_000
    assert len(json.loads(re.search(r'id="charts">(.*?)</script>', made, re.DOTALL)[1])) == 25


def test_a_change_is_marked_with_its_commit_and_comes_first(nights):
    runs = nights(3, 140, slower=(2,), faster=(1,))
    text = " ".join(Tags(of_history(runs)).text.split())
    assert re.search(r"gpu/timing/op2\[512 tokens\] got worse by 3\.8%", text)
    assert "on 2026-04-11 02:17: the kernel itself (since commit 0100deadbeef, after 0099deadbeef)" in text
    first, second, *_ = trends.cards(runs, evaluate(runs))
    assert (first.name, second.name) == ("gpu/timing/op2[512 tokens]", "gpu/timing/op1[512 tokens]")
    assert first.levels[99] < first.levels[100] == first.levels[139]


def test_check_with_limit_has_no_change_detection(nights):
    runs = nights(1, 20)
    card = next(card for card in trends.cards(runs, evaluate(runs)) if "kl" in card.name)
    assert card.limit == 1.0
    assert card.drawn[0] == pytest.approx(runs[0].verdicts[-1].value / 1.5)
    assert card.note == trends.NO_CHANGE_DETECTION
    assert not any("kl" in card.name for card in trends.cards(runs[:1], evaluate(runs[:1])))


@pytest.mark.parametrize(("trend", "run", "says"), [(4, "pass", "FAIL"), (0, "pass", "PASS"), (0, "fail", "FAIL")])
def test_the_headline_is_the_worst_of_run_and_trend(nights, trend, run, says):
    runs = nights(1, 140, slower=(0,) if trend else ())
    verdicts = tuple(replace(v, status=Status(run)) if v.gate == "coherence" else v for v in runs[-1].verdicts)
    runs[-1] = replace(runs[-1], verdicts=verdicts)
    assert f"<title>{says}: history</title>" in of_history(runs)


def test_everything_skipped_is_not_green(nights):
    runs = nights(1, 5)
    runs = [replace(run, verdicts=run.verdicts[:1]) for run in runs]
    imported = page.Subject("nights.csv", None, runs, evaluate(runs))
    assert "<title>SKIPPED: nights.csv</title>" in page.render(imported)


def test_numbers_without_dates_are_drawn_as_numbers(nights):
    runs = [replace(run, environment={"started": str(n)}) for n, run in enumerate(nights(1, 20))]
    cards = trends.cards(runs, evaluate(runs))
    assert not cards[0].dated
    assert cards[0].times[:3] == [0.0, 1.0, 2.0]


def test_hostile_text_is_no_markup_anywhere(hostile, nights, matrix):
    commit = {"commit": hostile.environment["commit"]}
    runs = [replace(run, verdicts=hostile.verdicts, environment=run.environment | commit) for run in nights(1, 12)]
    made = page.render(page.Subject(commit["commit"], hostile, runs, evaluate(runs), hostile, [matrix]))
    found = Tags(made)
    assert [tag for tag, _ in found.tags if tag == "img"] == []
    assert sum(tag == "script" for tag, _ in found.tags) == 3
    assert all(not name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert "49" not in re.findall(r"\{\{.*?\}\}|49", found.text)


def test_nothing_is_fetched(nights, broken):
    for made in (of_history(nights(2, 30)), page.render(page.Subject("run", broken))):
        for tag, attributes in Tags(made).tags:
            for name in ("src", "href", "srcset", "action"):
                assert re.match(r"#|data:,$", attributes.get(name, "#")), (tag, attributes)
        assert "default-src 'none'" in made
        assert "@import" not in made
        assert "url(http" not in made


def test_what_can_be_pressed_has_a_name(nights):
    found = Tags(of_history(nights(1, 20)))
    buttons = [attributes for tag, attributes in found.tags if tag == "button"]
    assert len(buttons) > 5
    assert all(attributes.get("aria-label") for attributes in buttons)
    charts = [attributes for _, attributes in found.tags if attributes.get("class") == "chart"]
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in charts)


def test_the_roofline_takes_the_nearer_limit(verdict):
    metrics = {"of_bandwidth": 0.8, "of_gemm_peak": 0.1}
    run = Run({}, (), (verdict("timing", "a[1]", value=5.0, unit="us", metrics=metrics), verdict("timing", "b")))
    (bar,) = sections.roofline(run)
    assert (bar.name, bar.said, bar.percent) == ("a[1]", "80% of bandwidth", 80.0)


def test_paired_timings_are_shown(verdict):
    slow = verdict("paired", "rms_norm[1 token]", Status.FAIL, value=1.031, limit=1.01, unit="x the base's time")
    text = " ".join(Tags(page.render(page.Subject("run", Run({}, (), (slow,))))).text.split())
    assert "rms_norm is to blame for what paired found" in text
    assert "+3.10%" in text


def test_strata_without_nll_are_left_out(verdict):
    far = {"nll": 0.01, "nll_low": -0.02, "nll_high": 0.04, "nll_floor": 0.001, "ratio": 1.0}
    metrics = {"0-127": {"ratio": 1.0, "upper": 1.1}, "128-511": far}
    (made,) = sections.strata(Run({}, (), (verdict("coherence", "nano: position", metrics=metrics),)))
    assert [row.positions for row in made.rows] == ["128-511"]
    assert (made.place(0.0), made.place(0.04), made.place(-0.04)) == (50.0, 98.0, 2.0)
    assert sections.strata(Run({}, (), (verdict("coherence", "nano: position", metrics={"0-127": {}}),))) == []


def test_the_kill_matrix_counts_who_caught_first(matrix):
    (made,) = sections.kills([matrix])
    assert made.gates == ("accuracy", "crash")
    assert made.rows[0] == ("qkv_rope", ("1 of 1", "1 of 1"), (1, 1))
    assert made.scores == ("1 of 2 named", "1 of 1 generated")
    assert [description for _, description, _ in made.survivors] == [matrix["mutants"][1]["description"]]


@pytest.mark.parametrize(("value", "percent"), [(0.25, 25.0), (7.0, 100.0), (-1.0, 0.0), (float("nan"), 100.0)])
def test_a_bar_stays_in_its_track(value, percent):
    assert sections.Bar("a", value, "").percent == percent


def test_sensitivity_is_a_table_a_gate(green):
    row = {"gate": "accuracy", "op": "rms_norm", "on": "float32, 6 cases", "fault": "one element", "trials": 20}
    row |= {"smallest": 2**-9, "least": 2**-32, "largest": 16.0}
    made = page.render(page.Subject("run", green, sensitivity=[row, row | {"gate": "coherence", "smallest": None}]))
    text = " ".join(Tags(made).text.split())
    assert "The smallest fault that the accuracy gate sees" in text
    assert "rms_normfloat322^-9" in text
    assert "not seen up to 2^4" in text
    assert "Not in this report: sensitivity" in Tags(page.render(page.Subject("run", green))).text
