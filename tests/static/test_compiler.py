"""The process that compiles: a fault of the compiler ends one piece of work, and what was compiled once is kept."""

import os
import signal
from types import SimpleNamespace

import pytest

from braidcheck.arch import GPUS
from braidcheck.op import Cost
from braidcheck.static import compiler, configurations, resources
from braidcheck.static.configurations import Configuration


class Launch:
    """Stands for a launch: its name says what becomes of it."""

    def __init__(self, name):
        self.kernel = SimpleNamespace(__name__=name)

    def digest(self, target):
        return f"{self.kernel.__name__} {target}"


def read(launch, target):
    name = launch.kernel.__name__
    if name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "raises":
        raise ValueError("at 3:4\nmore")
    os.write(1, b"the compiler speaks")
    return {"registers": 7 if target.name == "sm_90" else 8}


@pytest.fixture
def measure(monkeypatch, tmp_path):
    monkeypatch.setenv("BRAIDCHECK_CACHE", str(tmp_path))
    monkeypatch.setattr(resources, "read", read)

    def go(*names, children=2):
        found = [Configuration("demo", name, Launch(name), Cost(10, 20)) for name in names]
        monkeypatch.setattr(configurations, "find", lambda ops, capability: found)
        monkeypatch.setattr(os, "environ", os.environ.copy())
        said = []
        rows = compiler.measure((), children, lambda *counts: said.append(counts))
        assert len({done for done, _ in said}) == len(said)
        return {(row["configuration"], row["target"]): row for row in rows}, len(said)

    return go


def test_a_row_says_what_was_compiled_and_what_was_read(measure, capfd):
    rows, _ = measure("fine")
    assert set(rows) == {("fine", target) for target in GPUS}
    assert rows["fine", "sm_90"] == {
        "op": "demo", "configuration": "fine", "kernel": "fine", "target": "sm_90", "shared_limit": 232448,
        "bytes": 10, "flops": 20, "registers": 7,
    }  # fmt: skip
    assert capfd.readouterr().out == ""


def test_one_that_dies_or_raises_takes_no_other_with_it(measure):
    rows, _ = measure("first", "dies", "raises", "last", children=1)
    errors = {name: rows[name, "sm_90"].get("error") for name in ("first", "dies", "raises", "last")}
    assert errors == {
        "first": None,
        "dies": "the compiler's process died of SIGKILL",
        "raises": "ValueError: at 3:4",
        "last": None,
    }


def test_what_was_compiled_is_kept_and_an_error_is_not(measure, tmp_path):
    assert measure("fine", "raises")[1] == 8
    rows, compiled = measure("fine", "raises", "new")
    assert compiled == 8  # those that raise, and the new ones
    assert rows["fine", "sm_90"]["registers"] == 7
    for file in (tmp_path / "static").iterdir():
        file.write_text("{")
    assert measure("fine")[1] == 4


def test_work_that_two_share_is_done_once(measure, monkeypatch):
    rows, compiled = measure("same", "same")
    assert (len(rows), compiled) == (4, 4)


def test_a_cache_that_cannot_be_written_costs_time_only(measure, tmp_path):
    (tmp_path / "static").write_text("a file where the folder should be")
    assert measure("fine")[1] == measure("fine")[1] == 4
