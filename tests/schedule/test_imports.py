"""The ops that cannot be imported: found by processes that die, hang or say what was raised."""

import pytest

from braidcheck.isolation.process import EndedError, TimeLimitError
from braidcheck.schedule import imports

ENDS = {"crashes": EndedError("ended the process (SIGSEGV)"), "loops": TimeLimitError("is still running after 60 s")}


class Process:
    """A fake child: what it is asked to import ends it, raises or does nothing."""

    started = 0

    def __init__(self, code, settings):
        Process.started += 1
        self.alive = True

    def ask(self, message, fds, timeout):
        assert self.alive
        op = message.get("import", "..").split(".")[2]
        if op in ENDS:
            self.alive = False
            raise ENDS[op]
        return {"raised": "RuntimeError: no config"} if op == "raises" else {}

    def close(self):
        assert self.alive


def test_exactly_what_ends_a_process_or_raises_is_broken(monkeypatch):
    monkeypatch.setattr(Process, "started", 0)
    names = ["a", "crashes", "b", "loops", "raises", "c"]
    assert imports.broken(names, "interpret", Process) == {
        "crashes": "crashes cannot be imported: it ended the process (SIGSEGV)",
        "loops": "loops cannot be imported: it is still running after 60 s",
        "raises": "raises cannot be imported: RuntimeError: no config",
    }
    assert Process.started == 3


@pytest.mark.parametrize("message", [{}, {"import": "json"}])
def test_what_can_be_imported_is_answered_with_nothing(message):
    assert imports.answer(message, []) == {}


def test_what_raises_is_answered_in_one_line():
    assert imports.answer({"import": "no_such_module"}, [])["raised"].startswith("ModuleNotFoundError: No module")
