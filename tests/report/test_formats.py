"""The files of a gate run: what each format writes, and a format that one file and one line add."""

import os
import shutil
import subprocess
import sys

import pytest

from braidcheck.environment import PACKAGE
from braidcheck.report import formats
from braidcheck.result import Run, Status, Verdict

RUN = Run({"command": "braidcheck gate"}, (), (Verdict("accuracy", "op[a]", Status.PASS, "right"),))
THROW_AWAY = """
FILE = "statuses.csv"


def render(run):
    return "".join(f"{verdict.subject},{verdict.status}\\n" for verdict in run.verdicts)
"""


def test_every_format_is_written(tmp_path):
    formats.write(RUN, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(formats.FORMATS)
    assert Run.from_json((tmp_path / "run.json").read_text()) == RUN


def test_a_command_may_render_a_format_its_own_way(tmp_path):
    formats.write(RUN, tmp_path, markdown=lambda run: "mine")
    assert (tmp_path / "summary.md").read_text() == "mine"


@pytest.fixture
def package(tmp_path):
    """Runs the command line where a copy of the package has one more format, by one file and one line; its output."""
    ignored = shutil.ignore_patterns("__pycache__", "nano", "nano_golden")
    report = shutil.copytree(PACKAGE, tmp_path / "braidcheck", ignore=ignored) / "report"
    (report / "throw_away.py").write_text(THROW_AWAY)
    registry = report / "formats.py"
    registry.write_text(registry.read_text().replace('    "badge",\n', '    "badge",\n    "throw_away",\n'))

    def run(*words):
        env = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1", "COLUMNS": "200"}
        command = [sys.executable, "-m", "braidcheck", *words]
        return subprocess.run(command, env=env, cwd=tmp_path, check=False, capture_output=True, text=True).stdout

    return run


def test_one_file_and_one_line_add_a_format(package, tmp_path):
    said = package("gate", "--lane", "interpret", "--workers", "1", "-k", "edges and cache_write")
    assert ", statuses.csv are in braidcheck-out" in said
    assert (tmp_path / "braidcheck-out" / "statuses.csv").read_text() == "cache_write,pass\n"
    assert "statuses.csv" in package("gate", "--help")
    (tmp_path / "braidcheck-out" / "statuses.csv").write_text("of an earlier run")
    package("gate", "--lane", "interpret", "--workers", "1", "-k", "nothing")
    assert not (tmp_path / "braidcheck-out" / "statuses.csv").exists()
