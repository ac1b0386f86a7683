"""The HTML report in headless Chromium: it opens in silence, shows values, filters, zooms, and has two themes."""

import os
import shutil
from pathlib import Path

import pytest

from braidcheck.ci.trend.evaluate import evaluate
from braidcheck.report import page
from braidcheck.result import Run

pytestmark = pytest.mark.browser
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None)
PHONE = {"width": 390, "height": 844}
SHOTS = Path(os.environ.get("BRAIDCHECK_SHOTS", ""))  # where screenshots are kept, if anywhere


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "no Chromium here: nox -s report_tests says how to get one"
    # Chromium's own sandbox needs what containers do not have; it sees our own page only.
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Opens a report's text without a network; in the end nothing was said on the console and nothing was fetched."""
    noise, fetched, contexts = [], [], []

    def go(text, place="", **context):
        path = tmp_path / "report.html"
        path.write_text(text, encoding="utf-8")
        contexts.append(browser.new_context(offline=True, **context))
        tab = contexts[-1].new_page()
        tab.on("console", lambda text: noise.append(text.text) if text.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: noise.append(str(error)))
        tab.on("dialog", lambda dialog: (noise.append(f"dialog {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda request: fetched.append(request.url))
        tab.goto(path.as_uri() + place)
        return tab

    yield go
    for context in contexts:
        context.close()
    assert noise == []
    assert all(url.startswith(("file:", "data:")) for url in fetched)
    assert len([url for url in fetched if url.startswith("file:")]) == len(contexts)


@pytest.fixture
def year(nights, broken, matrix):
    """A report of a year of 24 series of which one got slower, whose last Run fails."""
    runs = nights(24, 365, slower=(5,), faster=(6,))
    last = type(broken)(broken.environment | runs[-1].environment, broken.expected, broken.verdicts)
    return page.render(page.Subject("a year", last, runs, evaluate(runs), None, [matrix]))


def drawn(tab, number=0):
    box = tab.locator(f"#chart-{number}")
    box.scroll_into_view_if_needed()
    box.locator("canvas").first.wait_for()
    tab.wait_for_timeout(300)
    return box


def shown_range(tab, number=0):
    """First and last of the times that a chart shows."""
    tab.wait_for_timeout(200)
    return tab.evaluate(
        "(id) => { for (const view of Bokeh.index) if (document.getElementById(id).contains(view.el))"
        " return [view.model.x_range.start, view.model.x_range.end] }",
        f"chart-{number}",
    )


def test_headline_names_suspect_ops(open_page, year):
    tab = open_page(year, viewport={"width": 1280, "height": 800})
    for text in ("qkv_rope is to blame", "op5[512 tokens] got worse by"):
        place = tab.get_by_text(text).first.bounding_box()
        assert place["y"] + place["height"] < 400


def test_hovering_over_a_night_shows_its_value_and_commit(open_page, year):
    tab = open_page(year)
    place = drawn(tab).bounding_box()
    tooltip = tab.locator(".bk-tooltip-content").first
    for step in range(20):
        tab.mouse.move(place["x"] + place["width"] / 2 + step, place["y"] + place["height"] / 2)
        tab.wait_for_timeout(50)
        if tooltip.is_visible():
            break
    text = tooltip.inner_text()
    assert "commit" in text
    assert "deadbeef" in text
    assert "2026-" in text


def test_the_keyboard_goes_from_night_to_night_and_zooms(open_page, year):
    tab = open_page(year)
    box = drawn(tab)
    box.focus()
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowLeft")
    text = tab.locator(".card").first.locator(".readout")
    assert text.inner_text().startswith("2026-12-30 02:17: ")
    assert "commit 0363deadbeef" in text.inner_text()
    tab.keyboard.press("0")
    whole = shown_range(tab)
    tab.keyboard.press("+")
    near = shown_range(tab)
    assert near[1] - near[0] < 0.6 * (whole[1] - whole[0])
    tab.keyboard.press("-")
    tab.keyboard.press("-")
    assert shown_range(tab) == whole


def test_dragging_zooms(open_page, year):
    tab = open_page(year)
    place = drawn(tab).bounding_box()
    before = shown_range(tab)
    middle = place["y"] + place["height"] / 2
    tab.mouse.move(place["x"] + 120, middle)
    tab.mouse.down()
    tab.mouse.move(place["x"] + 180, middle, steps=5)
    tab.mouse.up()
    after = shown_range(tab)
    assert after[1] - after[0] < 0.5 * (before[1] - before[0])


def test_filtering_leaves_what_was_asked_for(open_page, year):
    tab = open_page(year)
    cards = tab.locator(".card:visible")
    assert cards.count() == 25
    tab.fill("#filter", "op12[")
    assert cards.count() == 1
    assert "op12[" in cards.inner_text()
    assert not tab.get_by_role("heading", name="Failures").is_visible()
    tab.fill("#filter", "")
    tab.check("#bad")
    assert cards.count() == 2
    assert "shown" in tab.locator("#count").inner_text()
    tab.uncheck("#bad")
    assert cards.count() == 25


def test_a_link_leads_to_what_is_folded_or_filtered_away(open_page, broken):
    tab = open_page(page.render(page.Subject("run", broken)), "#op-qkv_rope")
    part = tab.locator("#op-qkv_rope")
    assert part.get_attribute("open") is not None
    tab.fill("#filter", "coherence")
    assert not part.is_visible()
    tab.evaluate("location.hash = '#op-fine'")
    tab.wait_for_timeout(100)
    assert tab.locator("#op-fine .bars").is_visible()
    assert tab.input_value("#filter") == ""


def test_a_slash_goes_to_the_filter(open_page, broken):
    tab = open_page(page.render(page.Subject("run", broken)))
    tab.keyboard.press("/")
    tab.keyboard.type("qkv/")
    assert tab.input_value("#filter") == "qkv/"


def test_fifty_thousand_verdicts_can_be_looked_at(open_page, verdict):
    run = Run({}, (), tuple(verdict("calls", f"check {number}") for number in range(50_000)))
    tab = open_page(page.render(page.Subject("run", run)))
    assert tab.locator("#all").is_visible()
    tab.fill("#filter", "1999")
    assert tab.locator("tr[data-text]:visible").count() == 1


def test_the_policy_refuses_a_request(browser, broken, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page.render(page.Subject("run", broken)))
    context = browser.new_context(offline=True)
    tab = context.new_page()
    tab.goto(path.as_uri())
    refused = "addEventListener('securitypolicyviolation', (event) => done(event.violatedDirective))"
    for attempt, rule in (("fetch(url).catch(() => 0)", "connect-src"), ("new Image().src = url", "img-src")):
        script = f"(url) => new Promise((done) => {{ {refused}; {attempt} }})"
        assert tab.evaluate(script, "https://example.org/") == rule
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_charts_can_be_read_in_both_themes(open_page, year, theme):
    tab = open_page(year, color_scheme=theme, viewport={"width": 1280, "height": 1000})
    drawn(tab)
    tab.evaluate("scrollTo(0, 0)")
    ground, ink, axis = (luminance(tab.evaluate(colour)) for colour in COLOURS)
    assert (ground < 0.2) == (theme == "dark")
    for text in (ink, axis):
        assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) > 4.5  # what WCAG AA asks for
    if SHOTS.name:
        tab.screenshot(path=SHOTS / f"report-{theme}.png")


COLOURS = (
    "getComputedStyle(document.querySelector('section')).backgroundColor",
    "getComputedStyle(document.body).color",
    "[...Bokeh.index][0].model.below[0].major_label_text_color",
)


def luminance(colour):
    """Relative luminance of "rgb(r, g, b)", from 0 to 1."""
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_theme_can_be_chosen(open_page, year):
    tab = open_page(year, color_scheme="dark")
    drawn(tab)
    for theme in ("light", "dark", "system"):
        tab.click("#theme")
        dark = luminance(tab.evaluate(COLOURS[0])) < 0.2
        assert dark == (theme != "light")
        axis = luminance(tab.evaluate(COLOURS[2]))
        assert (axis > 0.25) == dark


def test_a_phone_needs_no_sideways_scrolling(open_page, year):
    tab = open_page(year, viewport=PHONE, is_mobile=True, has_touch=True)
    drawn(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    if SHOTS.name:
        tab.screenshot(path=SHOTS / "report-phone.png")


def test_hostile_text_does_nothing(open_page, hostile, nights, matrix):
    commit = {"commit": hostile.environment["commit"]}
    runs = [type(run)(run.environment | commit, (), hostile.verdicts) for run in nights(1, 12)]
    text = page.render(page.Subject(commit["commit"], hostile, runs, evaluate(runs), hostile, [matrix]))
    tab = open_page(text)
    place = drawn(tab).bounding_box()
    tab.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    tab.wait_for_timeout(300)
    assert tab.locator("img").count() == 0
