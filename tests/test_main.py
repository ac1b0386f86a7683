"""The command's outermost frame: Ctrl-C at any time is one line, also while Python imports or ends."""

import signal

import pytest

from braidcheck import __main__, cli, processes


@pytest.fixture(autouse=True)
def handled(monkeypatch):
    """What is set for each signal, in place of setting it."""
    found = {}
    monkeypatch.setattr(signal, "signal", found.__setitem__)
    monkeypatch.setattr("sys.unraisablehook", None)
    return found


def assert_no_signal_counts(handled):
    """A second one changes no exit code."""
    assert set(handled) == set(processes.ENDING)
    for number, handler in handled.items():
        handler(number, None)


def test_ctrl_c_outside_of_the_command_line_is_one_line(monkeypatch, capsys, handled):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    assert __main__.main() == 130
    assert capsys.readouterr().err == "braidcheck: interrupted\n"
    assert_no_signal_counts(handled)


def test_the_exit_code_is_the_command_lines(monkeypatch, handled):
    monkeypatch.setattr(cli, "main", lambda: 3)
    assert __main__.main() == 3
    assert_no_signal_counts(handled)
