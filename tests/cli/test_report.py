"""``braidcheck report``: a Run, a history or a CSV in, one file out."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from braidcheck.result import Run, Status, Verdict


@pytest.fixture
def made(tmp_path):
    """A run.json with one failure."""
    verdicts = (Verdict("accuracy", "qkv_rope[a]", Status.FAIL, "too far", value=2.0, limit=1.0),)
    path = tmp_path / "run.json"
    path.write_text(Run({"commit": "abc", "started": "2026-01-01T00:00:00"}, (), verdicts).to_json())
    return path


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "nights.csv"
    rows = [f"2026-01-{day:02d},decode us,{5 + day % 3 / 100}" for day in range(1, 20)]
    path.write_text("\n".join(["time,series,value", *rows]) + "\n")
    return path


def test_the_ending_chooses_the_form(run, made, tmp_path):
    for ending, begins in (
        (".html", "<!DOCTYPE html>"),
        (".md", "# FAIL: 1 fail"),
        (".xml", "<?xml"),
        (".sarif", "{"),
        (".svg", "<svg"),
    ):
        out = tmp_path / f"report{ending}"
        assert run("report", made, "-o", out).code == 0
        assert out.read_text().startswith(begins)
    assert ElementTree.parse(tmp_path / "report.xml").find(".//failure") is not None


@pytest.mark.parametrize("package", ["bokeh", "jinja2", "ruptures"])
def test_a_missing_extra_is_named(csv, package):
    code = f"import sys; sys.modules[{package!r}] = None; from braidcheck.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "report", csv, "-o", csv.with_suffix(".html")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"braidcheck: {package} is not installed; pip install 'braidcheck[report]'\n"
    assert not csv.with_suffix(".html").exists()


def test_a_base_and_a_kill_matrix_are_taken(run, made, tmp_path):
    matrix = tmp_path / "kills.json"
    row = {"id": "a", "kind": "named", "part": "p", "outcome": "killed", "gate": "accuracy"}
    matrix.write_text(json.dumps({"lane": "interpret", "seconds": 1.0, "mutants": [row]}))
    out = tmp_path / "summary.md"
    assert run("report", made, "--base", made, "--mutants", matrix, "-o", out).code == 0
    assert "Base: commit `abc`" in out.read_text()
    assert "interpret: 1 of 1 named faults are caught" in out.read_text()


def test_a_csv_and_a_history_become_a_page(run, csv, made, tmp_path):
    out, folder = tmp_path / "report.html", tmp_path / "history"
    assert run("report", csv, "-o", out).code == 0
    assert "decode us" in out.read_text()
    assert run("history", "add", made, "--to", folder).code == 0
    assert run("report", folder, "-o", out).code == 0
    assert "qkv_rope" in out.read_text()


def test_alone_it_takes_what_the_last_gate_wrote(run, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("braidcheck-out").mkdir()
    made.rename("braidcheck-out/run.json")
    assert run("report").out.startswith("braidcheck-out/report.html (")
    assert run("report", "braidcheck-out", "--base", "braidcheck-out", "-o", "beside.html").code == 0
    assert "qkv_rope" in Path("beside.html").read_text()


def test_mistakes_are_one_line(refused, made, csv, tmp_path, monkeypatch):
    out = tmp_path / "report.html"
    refused(2, "give a name that ends in .html, .md, .xml, .sarif, .svg", "report", made, "-o", tmp_path / "report.pdf")
    refused(2, "cannot read", "report", tmp_path / "nowhere.json", "-o", out)
    refused(2, "measurements but no verdicts", "report", csv, "-o", tmp_path / "report.md")
    refused(2, "is not a Run", "report", made, "--base", csv, "-o", out)
    refused(2, "is not a kill matrix", "report", made, "--mutants", made, "-o", out)
    monkeypatch.chdir(tmp_path)
    refused(2, "there is no braidcheck-out/run.json; run braidcheck gate first", "report")
    (tmp_path / "empty").mkdir()
    refused(2, "no Runs in", "report", tmp_path / "empty", "-o", out)
    (tmp_path / "file").touch()
    refused(2, "give another -o", "report", made, "-o", tmp_path / "file" / "report.html")
    assert not out.exists()


@pytest.mark.usefixtures("fresh_python")
def test_what_draws_is_imported_only_by_who_draws():
    code = "import sys, braidcheck.plugin; from braidcheck.cli import COMMANDS, load; [*map(load, COMMANDS)]\n"
    code += "sys.exit(bool({'bokeh', 'jinja2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
