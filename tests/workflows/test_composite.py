"""action.yml: its steps as other repositories run them, with a stand-in for the gate."""

import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from braidcheck.cli import load
from braidcheck.report import formats
from braidcheck.result import Run, Status, Verdict

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = ACTION["runs"]["steps"]
# Records the words of a gate and leaves what the test prepared; all other Python is the real one.
PYTHON = f"""#!/bin/bash
if [ "$1 $2 $3" = "-m braidcheck gate" ]; then
    printf '%s\\n' "${{@:4}}" > "$WORDS"
    [ "$CODE" = 2 ] || cp -r "$MADE" braidcheck-out
    exit "$CODE"
fi
exec "{sys.executable}" "$@"
"""
bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def play(monkeypatch, tmp_path):
    """Plays the steps on a Run of this status: what became of each by name, the gate's words, outputs, summary."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    actions = importlib.import_module("actions")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text(PYTHON)
    (tmp_path / "bin" / "python3").chmod(0o755)

    def run(status=Status.PASS, code=0, **inputs):
        formats.write(Run({}, (), (Verdict("accuracy", "rms_norm[a]", status, "said"),)), tmp_path / "made")
        env = {"WORDS": str(tmp_path / "words"), "MADE": str(tmp_path / "made"), "CODE": str(code)}
        env["PYTHONPATH"] = str(ROOT)
        given = {name: str(one["default"]) for name, one in ACTION["inputs"].items()} | inputs
        path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
        site = actions.Site(tmp_path / "site", tmp_path, {}, path, env, given)
        job, found = actions.Job("job", {"steps": STEPS}, {}, site, {}), []
        job.run(found.append)
        outputs = job.contexts["steps"]["said"].get("outputs", {})
        values = {
            name: actions.fill(one["value"], {"steps": {"said": {"outputs": outputs}}})
            for name, one in ACTION["outputs"].items()
        }
        summary = (job.folder / "step-2" / "GITHUB_STEP_SUMMARY").read_text()
        words = (tmp_path / "words").read_text().splitlines()
        return {step.name: step.status for step in found}, words, values, summary

    return run


@bash
def test_a_green_gate(play):
    steps, words, outputs, summary = play()
    assert words == ["--lane", "auto", "--out", "braidcheck-out"]
    assert outputs == {"verdict": "pass", "run": "braidcheck-out/run.json"}
    assert summary.startswith("# PASS")
    assert steps == {
        "Install": "ok",
        "Gate": "ok",
        "Say what it found": "ok",
        "actions/upload-artifact": "ok",
        "github/codeql-action/upload-sarif": "skipped",
    }


@bash
def test_a_red_gate_fails_and_still_says_what_it_found(play):
    steps, _, outputs, summary = play(Status.FAIL, 1, sarif="true", artifact="")
    assert (steps["Gate"], steps["Say what it found"]) == ("failed", "ok")
    assert outputs["verdict"] == "fail"
    assert summary.startswith("# FAIL")
    assert steps["actions/upload-artifact"] == "skipped"
    assert steps["github/codeql-action/upload-sarif"] == "not rehearsed"


@bash
def test_a_wrong_call_leaves_nothing_to_say(play):
    steps, _, outputs, _ = play(code=2, ops="no_such_op")
    assert steps["Gate"] == "failed"
    assert [steps[name] for name in ("Say what it found", "actions/upload-artifact")] == ["ok", "skipped"]
    assert outputs == {"verdict": "", "run": ""}


@bash
def test_inputs_are_words_and_never_code(play, tmp_path):
    evil = f'x"; touch {tmp_path}/owned; echo "$(touch {tmp_path}/owned)'
    _, words, _, _ = play(gates="accuracy or sizes", ops="rms_norm  sample", against=evil)
    assert words[4:] == ["--op", "rms_norm", "--op", "sample", "-k", "accuracy or sizes", "--against", evil]
    assert not (tmp_path / "owned").exists()
    known = {word for option in load("gate").params for word in option.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_every_input_is_used_and_none_is_code():
    text = json.dumps(STEPS)
    assert all(f"inputs.{name}" in text for name in ACTION["inputs"])
    assert not any("${{" in step.get("run", "") for step in STEPS)
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"]) for step in STEPS if "uses" in step)
