"""Contracts in somebody's own pytest files, in a folder that knows nothing of this project."""

import json
import os
import subprocess
import sys

import pytest

from braidcheck.environment import PACKAGE
from braidcheck.errors import UserError
from braidcheck.pytest import ops

TESTS = """
import torch

from braidcheck.pytest import ops
from mylib.kernels import tripled


def rms_norm(x, weight, eps):
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return (wide * weight.float()).to(x.dtype)


def llama_norm(x, weight, eps):
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)


norm = ops.rms_norm.with_(output="input dtype")


@norm.with_(rounding="before weight").cases(serves=lambda case: case["T"] == 16, gates=["accuracy", "sizes"])
def test_llama(case):
    case.check(llama_norm)


@norm.cases(serves=lambda case: case.id == "rms_norm[bfloat16-extreme-T9-H1024]", gates=["accuracy"])
def test_strict(case):
    case.check(llama_norm)


@ops.tripled.cases(gates=["accuracy"])
def test_own_op(case):
    case.check(tripled)


def test_fixtures(poisoned_outputs, guarded):
    assert torch.empty(3).isnan().all()
    assert guarded(rms_norm)(torch.ones(2, 4), torch.ones(4), 0.0).eq(1).all()
"""
KERNEL = """
import torch
import triton
import triton.language as tl

@triton.jit
def _tripled(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + offs, tl.load(x_ptr + offs, mask=offs < n) * 3, mask=offs < n)

def tripled(x):
    y = torch.empty_like(x)
    _tripled[(triton.cdiv(x.numel(), 8),)](x, y, x.numel(), BLOCK=8)
    return y
"""
OP = """
from braidcheck.kernels.common.inputs import Numbers
from braidcheck.numerics import bounds
from braidcheck.op import Case, Contract, Cost, Op
from mylib.kernels import tripled

OP = Op(
    call=tripled,
    reference=lambda x: x * 3,
    inputs=lambda case, device: {"x": Numbers(case, device).activations(case["T"], 8)},
    cases=(Case("tripled", {"T": 5}, "float32"),),
    contract=Contract(outputs={"y": "x"}),
    bound=bounds.derived(lambda x: x * 3),
    cost=lambda case: Cost(1, 1),
    negative_controls={},
)
"""


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A repository with an op, its kernel and a pytest file; nothing but the name of the op is configured."""
    root = tmp_path_factory.mktemp("stranger")
    (root / "mylib").mkdir()
    for name, text in {
        "pyproject.toml": '[tool.braidcheck]\nops = ["mylib"]\n',
        "mylib/__init__.py": "",
        "mylib/checks.py": OP,
        "mylib/kernels.py": KERNEL,
        "conftest.py": 'pytest_plugins = "braidcheck.pytest"\n',
        "test_kernels.py": TESTS,
        "test_rms_norm.py": (PACKAGE.parent / "docs" / "examples" / "test_rms_norm.py").read_text("utf-8"),
    }.items():
        (root / name).write_text(text)
    return root


def run(root, *words):
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def output(stranger):
    """What pytest says there, with two workers."""
    return run(stranger, "pytest", "-n", "2", "-v", "-rs").stdout


def test_a_case_is_an_item(output):
    assert "PASSED test_rms_norm.py::test_rms_norm[rms_norm[bfloat16-tiny-T16-H256]]" in output
    assert "PASSED test_rms_norm.py::test_rms_norm[fence: rms_norm[bfloat16-tiny-T16-H256]]" in output
    assert "PASSED test_kernels.py::test_llama[rms_norm[bfloat16-tiny-T16-H256]]" in output
    assert "PASSED test_kernels.py::test_own_op[tripled[float32-unit-T5]]" in output
    assert "PASSED test_kernels.py::test_fixtures" in output


def test_an_argument_that_the_function_lacks_is_skipped(output):
    assert "rms_norm does not take out_dtype" in output


def test_a_failure_says_element_bound_ratio_and_convention(output):
    (failed,) = {line.split(" FAILED ")[1] for line in output.splitlines() if " FAILED " in line}
    assert "test_strict" in failed
    assert "times that (error ratio" in output
    assert "it keeps rms_norm(rounding=before weight)" in output


def test_faults_in_its_kernel_are_put_to_its_tests(stranger):
    command = f"{sys.executable} -m pytest -x -q -k own_op"
    options = ["--limit", "1", "--seed", "27", "--jobs", "1", "--lane", "interpret", "--json"]
    completed = run(stranger, "braidcheck", "mutants", "--source", "mylib/kernels.py", "--test", command, *options)
    (row,) = json.loads(completed.stdout)["mutants"]
    assert completed.returncode == 0
    assert (row["operator"], row["outcome"], row["line"]) == ("floor", "survived", 13)
    # All that its one case has are whole blocks.
    assert row["witness"] == "none found: the same bits on all 1 cases that are not large"
    assert (stranger / "mylib" / "kernels.py").read_text() == KERNEL


def test_what_is_not_there_is_named():
    with pytest.raises(AttributeError, match="no op 'nope'; one of attention_decode"):
        ops.nope  # noqa: B018
    with pytest.raises(UserError, match="rms_norm has no contract with 'output=nope'; one of output=input dtype"):
        ops.rms_norm.with_(output="nope")
    with pytest.raises(UserError, match="no gate 'nope' can be asked"):
        ops.rms_norm.cases(gates=["nope"])
    with pytest.raises(UserError, match="serves accepts none of the"):
        ops.rms_norm.cases(serves=lambda case: False)
