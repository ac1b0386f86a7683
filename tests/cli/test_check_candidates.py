"""What ``braidcheck check`` asks beyond the cases: each wrong function is refused, each right one accepted."""

import runpy
from pathlib import Path

import pytest

from braidcheck import kernels
from braidcheck.cli.candidate_worker import _verdict, subjects
from braidcheck.gates import under_test
from braidcheck.result import Status

FILE = Path(__file__).with_name("candidates.py")
TABLES = runpy.run_path(str(FILE))
SEED = 11


def named(table):
    return [(op, function.__name__) for op, functions in table.items() for function in functions]


@pytest.fixture
def asked():
    """Lists what is asked of a function, in this process; afterwards the op's own wrapper is tested again."""
    ops = dict(kernels.find())

    def ask(op, function, file=FILE):
        request = {"op": op, "function": f"{file}:{function}", "device": "cpu", "seed": SEED, "case": "", "skip": 0}
        return subjects(request)

    yield ask
    kernels.find().update(ops)
    under_test._candidates.clear()


@pytest.mark.parametrize(("op", "function"), named(TABLES["RIGHT"]))
def test_right_function_is_accepted(asked, op, function):
    verdicts = [subject.evaluate() for subject in asked(op, function)]
    refused = [f"{v.gate} {v.subject}: {v.message}" for v in verdicts if v.status in (Status.FAIL, Status.ERROR)]
    assert not refused
    assert sum(v.status == Status.PASS for v in verdicts) > 20


@pytest.mark.parametrize(("op", "function"), named(TABLES["WRONG"]))
def test_wrong_function_is_refused(asked, op, function):
    verdicts = (subject.evaluate() for subject in asked(op, function))
    assert any(verdict.status == Status.FAIL for verdict in verdicts)


UNINTERPRETED = """
import torch
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
    verdicts = [_verdict(subject) for subject in asked("rms_norm", "rms_norm", tmp_path / "own.py")]
    assert {verdict.status for verdict in verdicts} == {Status.SKIPPED, Status.PASS}
    assert {verdict.status for verdict in verdicts if verdict.gate == "accuracy"} == {Status.SKIPPED}
    assert "the interpreter cannot run this kernel, a GPU may: inline_asm not supported" in verdicts[0].message
