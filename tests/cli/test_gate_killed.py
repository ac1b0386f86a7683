"""``kill -9`` of ``braidcheck gate``: no process stays, and what was evaluated is there, marked as a part."""

import json
import os
import subprocess
import sys
import textwrap
import time

import pytest

from braidcheck import environment
from braidcheck.cli import phases, pytest_runner
from braidcheck.result import Run

SLOW = """
    @pytest.mark.parametrize("what", ["quick", "slow"])
    def test_it(what):
        (Path.cwd() / f"{what}-{os.getpid()}").touch()
        time.sleep(3600 if what == "slow" else 0)
        return Verdict("coherence", what, Status.PASS, "fine")
"""
DRIVER = """
    import sys
    from pathlib import Path
    from braidcheck import environment
    from braidcheck.cli import main, phases, pytest_runner
    environment.gpus = tuple
    pytest_runner.SUITE = Path({suite!r})
    phases.GATES = {{name: phases.GATES[name] for name in {gates!r}}}
    sys.exit(main(["gate", "--workers", "1", "-k", "coherence"]))
"""


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="what ends with its parent")
@pytest.mark.usefixtures("fresh_python")
def test_a_killed_gate_leaves_no_process_and_a_partial_run(suite, tmp_path):
    suite(coherence=SLOW)
    code = textwrap.dedent(DRIVER.format(suite=str(pytest_runner.SUITE), gates=list(phases.GATES)))
    env = os.environ | {"PYTHONPATH": str(environment.PACKAGE.parent)}
    child = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
    while child.poll() is None and not list(tmp_path.glob("slow-*")):
        time.sleep(0.05)
    (started,) = tmp_path.glob("slow-*")
    child.kill()
    child.wait()
    file = tmp_path / "braidcheck-out" / "correctness" / "run.json"
    while is_alive(int(started.name.removeprefix("slow-"))) or not file.exists():
        time.sleep(0.05)
    made = Run.from_json(file.read_text())
    assert json.loads(file.read_text())["environment"]["interrupted"] is True
    assert [verdict.subject for verdict in made.verdicts] == ["quick"]
    assert made.missing == ("interpret/coherence/slow",)
