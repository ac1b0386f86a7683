"""What may never end is ended, and an exception is said in one line."""

import signal
import time

import pytest

from braidcheck.benchmarks.attempt import first_line, within


def test_time_runs_out():
    with pytest.raises(TimeoutError, match=r"not ready within 0\.05 s"), within(0.05):
        time.sleep(30)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_is_ready_in_time_is_left_alone():
    before = signal.getsignal(signal.SIGALRM)
    with within(30):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_an_exception_is_one_line():
    assert first_line(ValueError("one\ntwo")) == "ValueError: one"
    assert first_line(ValueError()) == "ValueError: "


def test_time_that_ran_out_inside_a_library_is_said_as_such():
    def compile_late():
        try:
            raise TimeoutError("it was not ready within 3 s")
        except TimeoutError as late:
            raise RuntimeError("the compiler's backend failed") from late

    with pytest.raises(RuntimeError) as raised:
        compile_late()
    assert first_line(raised.value) == "it was not ready within 3 s"
