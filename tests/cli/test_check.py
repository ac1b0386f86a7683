"""``braidcheck check``: a user's function under an op's cases and bounds."""

import json

import pytest
import torch

from braidcheck import kernels
from braidcheck.cli import candidate_run
from braidcheck.result import Status, Verdict

GEMMA = """
import torch

def gemma(x, weight, eps):
    y = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps)
    return (y * (1 + weight.float())).to(x.dtype)
"""
WIDE = "rms_norm[float16-tail-T7-H1000]"
CANDIDATES = """
import atexit
import os
import signal
import sys
import torch

def full(x, weight, eps, residual=None, out=None, out_dtype=torch.float32):
    print("noise")
    total = x.float() if residual is None else x.float() + residual.float()
    y = (total * torch.rsqrt(total.square().mean(-1, keepdim=True) + eps) * weight.float()).to(out_dtype)
    y = y if out is None else out.copy_(y)
    return y if residual is None else (y, total.to(x.dtype))

def plain(x, weight, eps):
    return full(x, weight, eps)

def no_eps(x, weight, eps):
    return x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True)) * weight.float()

def raises(x, weight, eps):
    raise RuntimeError("out of shared memory")

def wide_alone(x, weight, eps):
    if x.dtype != torch.float32:
        raise ValueError("float32 alone")
    return full(x, weight, eps)

def leaves(x, weight, eps):
    if x.shape[1] == 1000 and x.is_contiguous():
        sys.exit(0)
    return full(x, weight, eps)

def dies(x, weight, eps):
    if x.shape[1] == 1000 and x.is_contiguous():
        os._exit(0)
    return full(x, weight, eps)

def crashes(x, weight, eps):
    if x.shape[1] == 1000 and x.is_contiguous():
        os.kill(os.getpid(), signal.SIGSEGV)
    return full(x, weight, eps)

def lies_at_exit(x, weight, eps):
    atexit.register(os._exit, 0)
    return 2 * full(x, weight, eps)

number = 3
"""


@pytest.fixture
def file(tmp_path, no_gpu):
    path = tmp_path / "mine.py"
    path.write_text(CANDIDATES)
    return path


def checked(run, file, function, *words):
    completed = run("check", "rms_norm", f"{file}:{function}", "--json", *words)
    body = json.loads(completed.out)
    assert body["exit_code"] == completed.code
    return completed.code, body


def test_a_right_function_passes_every_case_that_runs_here(run, file):
    code, body = checked(run, file, "full")
    left_out = [verdict for verdict in body["verdicts"] if verdict["status"] == "skipped"]
    assert (code, body["status"], body["op"]) == (0, "pass", "rms_norm")
    assert {verdict["message"] for verdict in left_out} == {"large cases need a GPU"}
    assert {verdict["gate"] for verdict in body["verdicts"]} >= {"accuracy", "fence", "edges", "calls", "determinism"}
    assert len(body["verdicts"]) - len(left_out) > 10


def test_cases_with_unsupported_argument_are_skipped_and_listed(run, file):
    code, body = checked(run, file, "plain")
    assert code == 0
    named = {v["subject"] for v in body["verdicts"] if v["message"].startswith("does not take residual")}
    assert named
    assert all("residual" in subject for subject in named)
    cases = {case.id: case for case in kernels.find()["rms_norm"].cases if not case.large}
    served = sum(v["gate"] == "accuracy" and v["status"] == "pass" and v["subject"] in cases for v in body["verdicts"])
    assert 0 < served < len(cases)
    assert body["verdicts"][-1]["message"] == f"supports {served} of {len(cases)} cases"
    assert checked(run, file, "plain", "--case", "residual1")[0] == 3


def test_a_function_that_refuses_every_16_bit_case_does_not_pass(run, file):
    completed = run("check", "rms_norm", f"{file}:wide_alone", "--case", "tail")
    assert completed.code == 3
    said = "of bfloat16 and float16, which are skipped: not supported: ValueError: float32 alone"
    assert said in completed.out.splitlines()[-2]
    assert completed.out.splitlines()[-2].startswith("supports ")
    assert "[served]'" not in completed.out  # as no --case repeats it


@pytest.mark.parametrize(
    ("function", "says"), [("no_eps", "times that (error ratio"), ("raises", "out of shared memory")]
)
def test_a_wrong_function_fails(run, file, function, says):
    code, body = checked(run, file, function)
    failed = [verdict for verdict in body["verdicts"] if verdict["status"] == "fail"]
    assert code == 1
    assert any(says in verdict["message"] for verdict in failed)
    assert f"--case '{failed[0]['subject']}'" in failed[0]["reproduce"]


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("leaves", "SystemExit instead of a return: the function must return (mine.py:"),
        ("dies", "ended the process (exit 0)"),
        ("crashes", "ended the process (SIGSEGV)"),
    ],
)
def test_function_that_does_not_return_fails_in_that_case_alone(run, file, function, says):
    code, body = checked(run, file, function, "--case", "6-tail-T7-H1000]", "--seed", "3")
    said = {(v["gate"], v["subject"]): v for v in body["verdicts"]}
    others = [v for v in body["verdicts"] if v["gate"] not in ("accuracy", "determinism")]  # they ask it of this case
    assert code == 1
    assert says in said["accuracy", WIDE]["message"]
    assert said["accuracy", WIDE]["status"] == "fail"
    assert others
    assert {v["status"] for v in others} == {"pass"}


def test_exit_code_is_not_the_function_s(run, file):
    assert checked(run, file, "lies_at_exit", "--case", "T1-H1024]")[0] == 1


def test_seed_repeats_the_drawn_cases(run, file):
    def drawn(seed):
        return [
            verdict["subject"] for verdict in checked(run, file, "plain", "--case", "-s", "--seed", seed)[1]["verdicts"]
        ]

    assert drawn(5) == drawn(5) != drawn(6)


def test_what_evaluates_has_one_thread_and_leaves_as_many_as_before(run, file, monkeypatch):
    threads = []

    def verdicts(self, title):
        threads.append(torch.get_num_threads())
        return [Verdict("accuracy", subject.name, Status.PASS, "said") for subject in self._subjects]

    monkeypatch.setattr(candidate_run.Questions, "verdicts", verdicts)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert checked(run, file, "plain", "--case", "T7-H1000]")[0] == 0
        assert (threads, torch.get_num_threads()) == ([1], 3)
    finally:
        torch.set_num_threads(before)


def test_the_answer_for_a_person(run, file):
    completed = run("check", "rms_norm", f"{file}:no_eps")
    assert completed.code == 1
    assert "fail accuracy rms_norm[" in completed.out
    assert "\nFAIL: " in completed.out
    assert "--seed" in completed.out.splitlines()[-1]


def test_a_module_of_the_working_directory_can_be_named(run, file, monkeypatch, tmp_path):
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "kernels.py").write_text(CANDIDATES)
    monkeypatch.chdir(tmp_path)
    completed = run("check", "rms_norm", "their_package.kernels:full", "--json", "--case", "T1-")
    assert completed.code == 0


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("mine.py:nothing", "no function 'nothing'"),
        ("mine.py:number", "no function 'number'"),
        ("mine.py", "give FILE.py:FUNCTION"),
        ("mine.py:", "give FILE.py:FUNCTION"),
        ("nowhere.py:full", "no file nowhere.py"),
        ("no_such_package.kernels:full", "cannot be imported: ModuleNotFoundError"),
        ("typo.py:full", "cannot be imported: SyntaxError"),
        ("exits.py:full", "cannot be imported: SystemExit"),
        ("dies.py:full", "cannot be imported: ended the process (exit 0)"),
    ],
)
def test_a_candidate_that_is_none_is_one_line(refused, file, monkeypatch, tmp_path, function, says):
    (tmp_path / "typo.py").write_text("def full(:\n")
    (tmp_path / "dies.py").write_text("import os\nos._exit(0)\n")
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    refused(2, says, "check", "rms_norm", function)


def test_other_mistakes_are_one_line(refused, file):
    refused(2, "no op 'nope'; one of ", "check", "nope", f"{file}:full")
    refused(2, "no case of rms_norm contains 'T99999'", "check", "rms_norm", f"{file}:full", "--case", "T99999")
    refused(3, "use --device cpu", "check", "rms_norm", f"{file}:full", "--device", "cuda")


def test_a_declared_contract_is_held_and_said(run, tmp_path):
    (tmp_path / "norms.py").write_text(GEMMA)
    words = ["check", "rms_norm", f"{tmp_path / 'norms.py'}:gemma", "--device", "cpu", "--case", "T16-H256"]
    kept = run(*words, "--contract", "output=input,weight=1")
    assert (kept.code, kept.err.count("Traceback")) == (0, 0)
    assert "passes as rms_norm(output=input dtype, weight=1 + weight)" in kept.out
    broken = run(*words, "--contract", "output=input", "--json")
    verdicts = json.loads(broken.out)["verdicts"]
    assert broken.code == 1
    assert verdicts[0]["message"] == "checked against the requested rms_norm(output=input dtype)"
    assert "--contract 'output=input'" in verdicts[1]["reproduce"]
