"""The HTML report without a browser: what it holds, how large it is, and that text stays text."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from braidcheck.ci.trend.evaluate import evaluate
from braidcheck.report import engines, markdown, page
from braidcheck.report.page import ops, sections, shown, trends
from braidcheck.report.rows import rows
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


def words(made):
    """The text with a space between any two cells."""
    return " ".join(re.sub("<[^>]+>", " ", made).split())


def of_history(runs, **more):
    return page.render(page.Subject("history", runs[-1], runs, evaluate(runs), **more))


def test_page_starts_with_suspect_ops(broken):
    text = Tags(page.render(page.Subject("run", broken))).text
    heads = [text.index(said) for said in ("FAIL", "Suspect op: qkv_rope", "Failures", "Headroom of the ops")]
    assert heads == sorted(heads)
    for said in (
        "qkv_rope[b]",
        "qkv_rope is 9.0 times its bound",
        "9 (limit <= 1) error ratio",
        "none, 9 x the limit",
        "2 of 3",
        "braidcheck/kernels/qkv_rope/kernel.py:",
        "braidcheck gate --op qkv_rope -k 'qkv_rope[b]'",
        "interpret/accuracy/lost",
        "large cases need a GPU",
    ):
        assert said in " ".join(text.split()), said


def test_each_failure_names_where_it_is_explained(broken, green):
    text = words(page.render(page.Subject("run", broken)))
    assert "causes and remedies docs/failures/numbers.md#accuracy" in text
    assert "causes and remedies docs/failures/model.md#coherence" in text
    assert "docs/failures/" not in page.render(page.Subject("run", green))


def test_a_green_run_is_small_and_says_what_it_lacks(green):
    made = page.render(page.Subject("run", green))
    assert len(made) < 100_000
    assert "Failures" not in made
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
    assert "Suspect op: rms_norm (paired)" in text
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
    assert [one.description for one in made.survivors] == [matrix["mutants"][1]["description"]]


@pytest.mark.parametrize(("value", "percent"), [(0.25, 25.0), (7.0, 100.0), (-1.0, 0.0), (float("nan"), 100.0)])
def test_a_bar_stays_in_its_track(value, percent):
    assert sections.Bar("a", value, "").percent == percent


def test_sensitivity_is_a_table_a_gate(green):
    row = {"gate": "accuracy", "op": "rms_norm", "on": "float32, 6 cases", "fault": "one element", "trials": 20}
    row |= {"smallest": 2**-9, "least": 2**-32, "largest": 16.0}
    made = page.render(page.Subject("run", green, sensitivity=[row, row | {"gate": "coherence", "smallest": None}]))
    text = " ".join(Tags(made).text.split())
    assert "The smallest fault that the accuracy gate detects" in text
    assert "rms_normfloat322^-9" in text
    assert "not detected up to 2^4" in text
    assert "Not in this report: sensitivity" in Tags(page.render(page.Subject("run", green))).text


def test_the_policy_lets_nothing_be_fetched(green):
    (policy,) = (a["content"] for tag, a in Tags(page.render(page.Subject("run", green))).tags if a.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    allowed = {"script-src": "'unsafe-inline'", "style-src": "'unsafe-inline'", "img-src": "data:"}  # no request
    assert rules == {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"} | allowed


@pytest.mark.parametrize("count", [6_000, 12_000])
def test_a_page_stays_small_and_says_what_it_leaves_out(accuracy_verdict, verdict, count):
    bad = [verdict("calls", f"check {number}", Status.FAIL, f"{number} is wrong") for number in range(count)]
    cases = [accuracy_verdict("rms_norm", f"T{number}", 0.5) for number in range(count)]
    run = Run({}, tuple(f"lost {number}" for number in range(count)), (*bad, *cases))
    made = page.render(page.Subject("run", run, base=Run({}, (), ())))
    assert len(made.encode()) < 2_000_000
    left = {word.replace(",", "") for word in re.findall(r"([\d,]+) more are not shown", made)}
    limits = (shown.MAX_ITEMS, shown.MAX_CASES, shown.MAX_FAILING)
    assert left == {*(str(count - limit) for limit in limits), str(count + 1 - shown.MAX_ROWS)}


def test_sections_and_what_is_in_them_can_be_linked_to(broken, nights):
    found = Tags(of_history(nights(1, 20)) + page.render(page.Subject("run", broken)))
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    links = {attributes["href"].removeprefix("#") for tag, attributes in found.tags if tag == "a"}
    assert links - {"main"} <= ids
    assert {
        "wrong",
        "ops",
        "all",
        "op-qkv_rope",
        "failure-interpret-accuracy-qkv_rope-b",
        "series-gpu-timing-op0-512-tokens",
    } <= links


def test_an_op_says_where_it_fails_and_what_its_cases_use(broken):
    listed = ops.parts(rows(broken))
    first, second = listed
    assert (first.name, first.status, second.name) == ("qkv_rope", Status.FAIL, "fine")
    assert [bar.name for bar in first.cases] == ["b", "c", "a"]
    assert [verdict.subject for verdict in first.failing] == ["qkv_rope[b]", "qkv_rope[c]"]
    assert second.said == "2 checks; worst case: 50% left"


def test_both_runs_are_side_by_side(broken, green):
    base = replace(green, environment={"commit": "base0", "libraries": {"torch": "1"}})
    text = words(page.render(page.Subject("run", broken, base=base)))
    assert "commit base0 abc " in text
    assert "torch 1 2 " in text


def test_the_roof_is_where_a_series_at_a_limit_lies():
    for intensity in (0.01, 0.5, 1.0, 20.0):
        point = sections.under_roof(intensity, min(1.0, intensity))
        left, ridge, right = sections.ROOF
        start, end = (left, ridge) if point.x <= ridge.x else (ridge, right)
        along = (point.x - start.x) / (end.x - start.x)
        assert point.y == pytest.approx(start.y + along * (end.y - start.y), abs=0.02)  # two decimals, twice


def test_what_is_not_in_the_drawing_is_left_out(verdict):
    parts = [(0.8, 0.1), (0.5, 1e-6), (1e-5, 0.9), (0.0, 0.0), (math.inf, 0.5)]
    timed = [
        verdict(
            "timing",
            f"op[{at}]",
            value=1.0,
            unit="us",
            metrics=dict(zip(("of_bandwidth", "of_gemm_peak"), one, strict=True)),
        )
        for at, one in enumerate(parts)
    ]
    (point,) = sections.roof_points(Run({}, (), tuple(timed)))
    assert point.said == "op[0]: 80% of bandwidth, 10% of GEMM peak"


@pytest.fixture
def engine_run(verdict):
    """An engine that is right alone and wrong in a batch, and samples well."""
    numbers, wrong = {"answers": 4, "kl_ratio": 0.98, "kl_used": 0.022}, "3 of 4 answers are wrong"
    return Run({}, (), (
        verdict("surfaces", "mine on nano: first request", message="1 answer is right", metrics=numbers),
        verdict("surfaces", "mine on nano: batch of 8, ragged", Status.FAIL, wrong, metrics={"answers": 4}),
        verdict("surfaces", "mine on nano: what separates right from wrong", Status.FAIL, "wrong in batches"),
        verdict("samplers", "mine on nano: top-k 3", message="as often as they should", metrics={"tokens": 336}),
    ))  # fmt: skip


def test_an_engines_surfaces_are_a_table(engine_run):
    (table,) = engines.tables(engine_run)
    assert (table.engine, table.separates) == ("mine on nano", "wrong in batches")
    assert table.rows == (
        ("first request", "pass", "4", "0.98", "0.022", "1 answer is right"),
        ("batch of 8, ragged", "fail", "4", "", "", "3 of 4 answers are wrong"),
        ("sampling: top-k 3", "pass", "336", "", "", "as often as they should"),
    )
    text = words(page.render(page.Subject("run", engine_run)))
    assert "Separates right from wrong: wrong in batches" in text
    assert "batch of 8, ragged fail 4 3 of 4 answers are wrong" in text
    summary = markdown.render(engine_run)
    assert "| batch of 8, ragged | fail | 4 |" in summary
    assert "separates right from wrong: wrong in batches" in summary
