"""What ``braidcheck check`` asks beyond the cases: each wrong function is refused, each right one accepted."""

import random
import runpy
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from braidcheck import kernels
from braidcheck.cli import candidate_checks
from braidcheck.cli.candidate_checks import Subject, subjects
from braidcheck.cli.candidate_run import Limits, Questions
from braidcheck.gates.under_test import use_candidate
from braidcheck.gates.under_test.candidate import Candidate
from braidcheck.gates.under_test.workers import Workers
from braidcheck.isolation.exchange import Exchange
from braidcheck.isolation.process import EndedError, TimeLimitError
from braidcheck.result import Status

# A file for each op: the sizes gate tests every limit that a file names, whichever function names it.
FILES = {file.stem: file for file in sorted(Path(__file__).with_name("candidates").glob("*.py"))}
SEED = 11
SECONDS = 600


def named(table):
    return [(op, function.__name__) for op, file in FILES.items() for function in runpy.run_path(str(file))[table]]


@pytest.fixture(scope="module")
def exchange():
    """One process for all functions of this module."""
    workers = Workers("cpu")
    exchange = Exchange(workers.start, workers.file)
    yield exchange
    exchange.close()
    workers.close()


@pytest.fixture
def asked(exchange, answers):
    """Lists what is asked of a function; afterwards the op's own wrapper is tested again."""
    with ExitStack() as used:

        def ask(op, function, file=None):
            whole = kernels.find()[op]
            candidate = Candidate(whole, f"{file or FILES[op]}:{function}", exchange, SECONDS)
            used.enter_context(use_candidate(op, candidate))
            return subjects(whole, candidate, "cpu", SEED)

        yield ask


@pytest.mark.parametrize(("op", "function"), named("RIGHT"))
def test_right_function_is_accepted(asked, op, function):
    verdicts = [subject.evaluate() for subject in asked(op, function)]
    refused = [f"{v.gate} {v.subject}: {v.message}" for v in verdicts if v.status in (Status.FAIL, Status.ERROR)]
    assert not refused
    assert sum(v.status == Status.PASS for v in verdicts) > 20


@pytest.mark.parametrize(("op", "function"), named("WRONG"))
def test_wrong_function_is_refused(asked, op, function):
    verdicts = (subject.evaluate() for subject in asked(op, function))
    assert any(verdict.status == Status.FAIL for verdict in verdicts)


UNINTERPRETED = """
import triton
import triton.language as tl


@triton.jit
def kernel(x_ptr):
    tl.inline_asm_elementwise("mov.u32 $0, $1;", "=r,r", [tl.arange(0, 2)], tl.int32, True, 1)


def rms_norm(x, weight, eps):
    kernel[(1,)](x)
"""


def test_what_the_interpreter_cannot_run_is_skipped(asked, tmp_path):
    (tmp_path / "own.py").write_text(UNINTERPRETED)
    subjects = [each for each in asked("rms_norm", "rms_norm", tmp_path / "own.py") if each.gate == "accuracy"]
    verdicts = [subject.evaluate() for subject in subjects]
    assert {verdict.status for verdict in verdicts} == {Status.SKIPPED}
    assert "the interpreter cannot run this kernel, a GPU may: inline_asm not supported" in verdicts[0].message


@pytest.mark.parametrize("error", [EndedError("ended the process (SIGSEGV)"), TimeLimitError("ran too long")])
def test_a_process_that_ends_is_skipped_where_only_our_kernels_promise_an_answer(error):
    def ends():
        raise error

    asked = partial(candidate_checks._checked, "edges", check=ends, candidate=SimpleNamespace(raised=None))
    verdict = asked("qkv_rope[a position outside the table gives NaN]")
    assert (verdict.status, verdict.message) == (
        Status.SKIPPED, f"other libraries do not promise this: the function {error}"
    )  # fmt: skip
    with pytest.raises(type(error)):
        asked("qkv_rope[what is given is kept]")


def test_so_it_is_where_a_gate_lets_the_exception_through():
    def raises():
        raise RuntimeError("the interpreter's")

    candidate = SimpleNamespace(seconds=1.0, uninterpreted="the interpreter cannot run it")
    questions = Questions([Subject("determinism", "op", raises)], candidate, Limits(1, 1), random.Random(0))
    (verdict,) = questions.verdicts("asking")
    assert (verdict.status, verdict.message) == (Status.SKIPPED, "the interpreter cannot run it")


AS_HF = """
import torch


def normed(x, eps):
    return x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps)


def hf(x, weight, eps):
    return weight * normed(x, eps).to(x.dtype)


def gemma(x, weight, eps):
    return (normed(x, eps) * (1 + weight.float())).to(x.dtype)


def narrow(x, weight, eps):
    return weight * (x * torch.rsqrt(x.square().to(x.dtype).mean(-1, keepdim=True).to(x.dtype) + eps)).to(x.dtype)
"""


@pytest.mark.parametrize(
    ("function", "conventions"),
    [("hf", "output=input dtype, rounding=before weight"), ("gemma", "output=input dtype, weight=1 + weight")],
)  # the latter is another op, which it is right as
def test_the_contract_that_a_function_keeps_is_named_and_meets_all_cases(asked, tmp_path, function, conventions):
    (tmp_path / "norms.py").write_text(AS_HF)
    verdicts = [subject.evaluate() for subject in asked("rms_norm", function, tmp_path / "norms.py")]
    contract = next(verdict for verdict in verdicts if verdict.subject == "rms_norm[contract]")
    assert contract.message.startswith(f"held to rms_norm({conventions}); fails the strict contract: without output")
    assert "y is bfloat16, must be float32 (as Liger, vLLM, SGLang and fla return it)" in contract.message
    assert contract.status == (Status.FAIL if function == "gemma" else Status.PASS)
    others = [verdict for verdict in verdicts if verdict is not contract]
    assert [verdict.message for verdict in others if verdict.status in (Status.FAIL, Status.ERROR)] == []
    assert sum(verdict.status == Status.PASS for verdict in others) > 20


def test_another_convention_excuses_no_narrow_sum(asked, tmp_path):
    (tmp_path / "norms.py").write_text(AS_HF)
    verdicts = (subject.evaluate() for subject in asked("rms_norm", "narrow", tmp_path / "norms.py"))
    assert any(verdict.status == Status.FAIL for verdict in verdicts)


@pytest.mark.parametrize(
    ("large", "free", "status", "said"),
    [
        (False, 60, Status.FAIL, "rms_norm needs more memory for a small case than the 60 GiB"),
        (False, 40, Status.ERROR, "stop other programs on it"),
        (True, 60, Status.ERROR, "stop other programs on it"),
    ],
)
def test_who_is_at_fault_where_memory_does_not_suffice(monkeypatch, large, free, status, said):
    def measure(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 65536.00 GiB")

    monkeypatch.setattr(candidate_checks, "measure_op", measure)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free << 30, 80 << 30))
    op = kernels.find()["rms_norm"]
    case = replace(op.cases[0], large=large)
    verdict = candidate_checks._accuracy(op, case, lambda *_: None, "cuda", False)
    assert verdict.status == status
    assert said in verdict.message
