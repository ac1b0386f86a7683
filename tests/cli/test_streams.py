"""Streams that the caller closed."""

import sys

from braidcheck.cli import main


def test_a_closed_stream_is_no_error(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["--help"]) == 0
    assert main(["no-such-command"]) == 2
    sys.stdout.close()
    sys.stderr.close()
