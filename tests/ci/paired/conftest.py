"""Two trees whose kernels are numbers in a file."""

import json
import os
import sys
from pathlib import Path

import pytest

from braidcheck.ci.paired.process import Process
from braidcheck.ci.paired.session import Session
from braidcheck.environment import PACKAGE

WORKER = Path(__file__).parent / "fake_worker.py"


@pytest.fixture
def side(tmp_path, monkeypatch):
    """Makes one side of a pair: ops by name, each with seconds and mishaps."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]))

    def make(name, **ops):
        tree = tmp_path / name
        tree.mkdir()
        plan = {op: {"op": op, "seconds": 1e-5} | more for op, more in ops.items()}
        (tree / "speed.json").write_text(json.dumps(plan))
        return Process(name, tree, lambda tree: [sys.executable, str(WORKER), str(tree)])

    return make


@pytest.fixture
def measure(side):
    """Runs a whole session of two sides, each given as ops by name."""

    def go(base, change, seconds=3600.0, goal=None):
        names = sorted(base.keys() | change.keys())
        series = [{"name": f"{op}[shape]", "op": op, "axes": {}} for op in names]
        with Session(side("base", **base), side("change", **change)) as session:
            return session.measure(series, seconds, goal)

    return go
