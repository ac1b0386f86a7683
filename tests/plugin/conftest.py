"""Gate runs over small suites of fakes."""

import shutil
import textwrap

import pytest

from braidcheck.cli import pytest_runner as launcher
from braidcheck.cli.pytest_runner import Phase, launch
from braidcheck.settings import Settings

HEAD = """
import os, sys, types
from pathlib import Path
import pytest
from braidcheck.errors import UserError
from braidcheck.result import Status, Verdict

def verdict(subject, status=Status.PASS, gate="demo"):
    return Verdict(gate, subject, status, f"{subject} is {status}")
"""


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Runs a suite made of the given source, in which ``test_item`` is the gate's test; returns its Run."""
    suite = tmp_path / "suite"
    suite.mkdir()
    shutil.copy(launcher.SUITE / "pytest.ini", suite)
    monkeypatch.setattr(launcher, "SUITE", suite)

    def go(source, workers=1, expression="", gate="demo", **settings):
        source = textwrap.dedent(source).replace("def test_item(", f"def test_{gate}(")
        (suite / launcher.ITEMS).write_text(HEAD + source)
        chosen = Settings(**{"lane": "interpret", "out": str(tmp_path / "out"), **settings})
        interrupted, run = launch(Phase("correctness", (gate,), chosen, workers, expression))
        assert not interrupted
        return run

    return go


def statuses(run):
    return {verdict.subject: str(verdict.status) for verdict in run.verdicts}
