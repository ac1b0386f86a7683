"""``braidcheck demo``: the copy holds the fault, what gates answer is told in words, and a miss is exit code 1."""

import json
import subprocess

import pytest

from braidcheck import environment
from braidcheck.cli import demo
from braidcheck.environment import PACKAGE
from braidcheck.golden import resolve
from braidcheck.result import Run, Status, Verdict

RUN = Run({}, (), (
    Verdict("accuracy", "qkv_rope[a]", Status.FAIL, "q[0] is 3, exactly 1", value=2.0, limit=1.0),
    Verdict("accuracy", "qkv_rope[b]", Status.FAIL, "q[0] is 9, exactly 1", value=8.0, limit=1.0),
    Verdict("accuracy", "qkv_rope[c]", Status.PASS, "fine"),
    Verdict("accuracy", "qkv_rope[large]", Status.SKIPPED, "needs a GPU"),
))  # fmt: skip
FINE = Run({}, (), RUN.verdicts[2:])
ANSWER = {"failed": ["nano: kl: KL is 1.4"], "ops": ["qkv_rope"], "blame": "qkv_rope in layers 0-4"}


@pytest.fixture
def answers(monkeypatch):
    """What the two processes answer; the calls that were made: words, environment, and the kernel's text."""
    given = {"run": RUN, "answer": ANSWER}
    calls = []

    def python(tree, words, **more):
        calls.append((words, more, (tree / "braidcheck" / "kernels" / "qkv_rope" / "kernel.py").read_text()))
        if "gate" in words and given["run"]:
            (tree / "out").mkdir()
            (tree / "out" / "run.json").write_text(given["run"].to_json())
        said = json.dumps(given["answer"]) if given["answer"] else ""
        return subprocess.CompletedProcess(words, 0, f"loading\n{said}", "Boom: no such thing")

    monkeypatch.setattr(demo, "_python", python)
    return given, calls


def test_gates_are_asked_of_a_copy_with_the_fault(answers, run):
    before = (PACKAGE / "kernels" / "qkv_rope" / "kernel.py").read_text()
    completed = run("demo")
    assert completed.code == 0
    assert len(answers[1]) == 2
    for _, _, text in answers[1]:
        assert text != before
    assert (PACKAGE / "kernels" / "qkv_rope" / "kernel.py").read_text() == before
    assert "-        x1 *= tl.load(norm_ptr + offs_d)" in completed.out
    assert "2 of 3 cases of qkv_rope fail" in completed.out
    assert "q[0] is 9, exactly 1" in completed.out
    assert "suspect ops: qkv_rope in layers 0-4" in completed.out


def test_the_gate_that_is_asked_is_a_call_of_today(run):
    completed = run("config", "--json", *demo.KERNEL_GATE)
    assert completed.code == 0
    found = {row["key"]: row["value"] for row in json.loads(completed.out)["config"]}
    assert (found["gates"], found["lane"], found["workers"]) == (["accuracy"], "interpret", 1)


@pytest.mark.parametrize(
    ("miss", "says"),
    [
        ({"run": FINE}, "accuracy: not caught; 1 cases of qkv_rope pass"),
        ({"answer": ANSWER | {"failed": []}}, "coherence: not caught"),
        ({"answer": ANSWER | {"ops": ["rms_norm"]}}, "A gate did not catch it"),
    ],
)
def test_what_was_not_caught_is_a_failure(answers, run, miss, says):
    answers[0].update(miss)
    completed = run("demo")
    assert completed.code == 1
    assert says in completed.out


@pytest.mark.parametrize(("broken", "says"), [("run", "wrote no run.json: Boom"), ("answer", "wrote no result: Boom")])
def test_a_gate_that_breaks_is_one_line(answers, run, broken, says):
    answers[0][broken] = None
    completed = run("demo")
    assert (completed.code, completed.err.count("\n")) == (3, 1)
    assert says in completed.err


def test_without_the_interpreter_there_is_no_demo(refused, monkeypatch):
    monkeypatch.setattr(environment, "why_no_interpreter", lambda: "Triton is not here")
    refused(3, "the demo runs kernels on the CPU: Triton is not here", "demo")


def test_without_the_embedded_model_no_gate_is_asked(answers, refused, monkeypatch, tmp_path):
    monkeypatch.setattr(resolve, "NANO", tmp_path / "nano")
    refused(3, "pip install 'braidcheck[nano]'", "demo")
    assert answers[1] == []
