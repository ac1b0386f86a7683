"""Progress: plain lines in a pipe, a bar on a terminal, and about how much time is left."""

import io

import pytest
from rich.console import Console

from braidcheck.report import progress


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.02)
    monkeypatch.setattr(progress, "LIVE_SECONDS", 0.02)


def wait_for(stream, text):
    import time

    while text not in stream.getvalue():
        time.sleep(0.01)
    return stream.getvalue()


def test_progress_in_pipe_is_plain_lines(hurry):
    stream = io.StringIO()
    with progress.Progress("work", stream=stream) as say:
        say("step [one]", 1, 3)
        said = wait_for(stream, "work: 1/3 still step [one] (")
    assert "work: 1/3 step [one] (" in said
    assert "\x1b" not in said


def test_progress_on_a_terminal_is_a_bar_that_goes_away(hurry, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **given: Console(**given, force_terminal=True, width=100))
    with progress.Progress("work", look=lambda: progress.State(2, 4, "step [two]", "about 9 s left"), stream=stream):
        said = wait_for(stream, "step [two]")
    assert "2/4" in said
    assert "about 9 s left" in said
    assert stream.getvalue().endswith("\x1b[2K")


@pytest.mark.parametrize("terminal", [False, True])
def test_news_are_said_once_and_at_once(hurry, monkeypatch, terminal):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 1e6)
    monkeypatch.setattr(progress, "NEWS_SECONDS", 0.02)
    stream, news = io.StringIO(), ["fail [a]"]
    monkeypatch.setattr(progress, "Console", lambda **given: Console(**given, force_terminal=terminal, width=100))
    with progress.Progress("work", look=lambda: progress.State(1, 4, "step", None, tuple(news)), stream=stream):
        wait_for(stream, "fail [a]")
        news.append("fail [b]")
        wait_for(stream, "fail [b]")
    assert stream.getvalue().count("fail [a]") == 1


def test_quick_work_says_nothing():
    stream = io.StringIO()
    with progress.Progress("work", stream=stream) as say:
        say("step")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("state", "left"),
    [
        ((0, 0, "starting"), None),
        ((0, 4, "step"), None),
        ((9, 100, "step"), None),
        ((1, 4, "step"), 30.0),
        ((4, 4, "step"), None),
        # Of two things that go on at once, the one that ends later.
        ((3, 4, "coherence: token 2001 of 8000, document 2"), 10.0 * 6000 / 2000),
        ((1, 4, "coherence: token 7001 of 8000, document 9"), 30.0),
        ((3, 4, "coherence: token 1 of 8000, document 1"), None),
    ],
)
def test_the_time_that_is_left(state, left):
    assert progress.time_left(state, 10.0, {}) == (left if left is None else pytest.approx(left))


def test_while_a_step_lasts_the_time_that_is_left_goes_down():
    clocks = {}
    left = [progress.time_left((2, 4, "long"), taken, clocks) for taken in (10.0, 14.0, 30.0)]
    assert left == [10.0, 6.0, None]  # over its time: nothing is said rather than 0 s
    assert progress.time_left((3, 4, "next"), 30.0, clocks) == 10.0
