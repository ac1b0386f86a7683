"""Slow-downs put into kernels: real work, the same answers, nothing else changed."""

import ast
import os
import subprocess
import sys

import pytest

from braidcheck import kernels
from braidcheck.ci.paired import slower
from braidcheck.ci.paired.slower import launched, slow_tree, slowed
from braidcheck.ci.paired.worktrees import REPOSITORY, prepare_worktree
from braidcheck.environment import PACKAGE
from braidcheck.errors import UserError

KERNEL = '''
"""A module."""
from __future__ import annotations

@triton.jit
def _helper(x):
    return x


@triton.jit
def _op(
    x_ptr, count,
):  # fmt: skip
    """A story."""
    tl.store(x_ptr, _helper(count))


def op(x, y):
    _op[(1,)](x, 1)
    y[0](x)
'''


def test_the_work_comes_first_and_its_result_is_kept():
    module = ast.parse(slowed(KERNEL, {"_op"}))
    helper, kernel, op = (node for node in module.body if isinstance(node, ast.FunctionDef))
    assert [argument.arg for argument in kernel.args.args] == ["_turns", "_sink_ptr", "x_ptr", "count"]
    assert [type(node).__name__ for node in kernel.body] == ["Expr", "Assign", "For", "If", "Expr"]
    assert "range(_turns)" in ast.unparse(kernel.body[2])
    assert "tl.store(_sink_ptr" in ast.unparse(kernel.body[3])
    assert [argument.arg for argument in helper.args.args] == ["x"]
    assert ast.unparse(op.body[0]) == "_op[1,](*slower.work(), x, 1)"
    assert ast.unparse(op.body[1]) == "y[0](x)"


def test_what_launches_nothing_stays_as_it_is():
    assert slowed(KERNEL, set()) == KERNEL


def test_every_kernel_that_is_launched_spins_and_no_other():
    """Whatever kernel a shape launches, the work is in it: once it was in the first kernel of each file alone."""
    texts = [path.read_text(encoding="utf-8") for path in (PACKAGE / "kernels").rglob("*.py")]
    names = launched(texts)
    gate_up = {f"gate_up_silu_{regime}_kernel" for regime in ("gemv", "tiled", "persistent")}
    assert gate_up | {"rmsnorm_operand_kernel", "attend_cache"} <= names
    assert not {"swiglu", "rmsnorm_rstd", "gemm_mainloop"} & names
    slow = [slowed(text, names) for text in texts]
    assert sum(text.count("range(_turns)") for text in slow) == len(names)
    launches = sum(text.count("slower.work()") for text in slow)
    assert launches >= len(names)
    assert launched(slow) == names


AHEAD = """
import importlib, sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
kernel = importlib.import_module("braidcheck.kernels.rms_norm.kernel")._rms_norm
kinds = {n: "*fp32" for n in kernel.arg_names if n.endswith("_ptr")}
kinds |= {n: "i32" for n in ("M", "N", "stride_xm", "stride_rm", "stride_ym", "_turns")} | {"eps": "fp32"}
constants = {"BLOCK_M": 1, "BLOCK_N": 1024, "HAS_RESIDUAL": False, "USE_PDL": False}
kinds |= dict.fromkeys(constants, "constexpr")
source = ASTSource(kernel, kinds, constexprs=constants)
print(triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"])
"""
HALF = "0f3F000000"


def test_the_compiler_keeps_the_work(tmp_path):
    slow = slow_tree(prepare_worktree(REPOSITORY, tmp_path / "plain"), tmp_path / "slower")
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    env |= {"PYTHONPATH": str(slow), "PYTHONSAFEPATH": "1", "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    asked = subprocess.run([sys.executable, "-c", AHEAD], env=env, check=True, capture_output=True, text=True)
    loops = [line for line in asked.stdout.splitlines() if "fma.rn.f32" in line and HALF in line]
    assert loops, "no multiply-add that adds a half is left"


ANSWERS = """
import sys
from braidcheck.kernels import find
from braidcheck.ci.paired import slower
slower.inject_slowdown(int(sys.argv[1]), "cpu")
for name, op in find().items():
    case = next(case for case in op.cases if not case.large)
    answer = op.call(**op.inputs(case, "cpu"))
    answers = answer if isinstance(answer, tuple) else (answer,)
    print(name, [float(one.double().nan_to_num(7).sum()) for one in answers if one is not None])
print(op.call.__code__.co_filename)
"""


def test_slower_kernels_give_the_same_answers(tmp_path):
    tree = prepare_worktree(REPOSITORY, tmp_path / "plain")
    said = []
    for folder in (tree, slow_tree(tree, tmp_path / "slower")):
        env = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
        words = [sys.executable, "-c", ANSWERS, "3"]
        asked = subprocess.run(words, env=env, check=True, capture_output=True, text=True)
        *answers, file = asked.stdout.splitlines()
        assert file.startswith(str(folder))
        said.append(answers)
    assert said[0] == said[1]
    assert len(said[0]) == len(kernels.find())


def test_only_files_with_kernels_or_launches_change(tmp_path):
    tree = prepare_worktree(REPOSITORY, tmp_path / "plain")
    slow = slow_tree(tree, tmp_path / "slower")
    names = (path.relative_to(slow) for path in slow.rglob("*.py"))
    changed = {f"{n.parent.name}/{n.name}" for n in names if (slow / n).read_bytes() != (tree / n).read_bytes()}
    assert {"rms_norm/__init__.py", "common/persistent_gemm.py", "fused_attention/kernel.py"} <= changed
    assert not {"braidcheck/op.py", "common/rms_norm.py", "paired/worker.py", "benchmarks/replay.py"} & changed


def test_a_launch_before_it_was_said_how_long(monkeypatch):
    monkeypatch.setattr(slower, "_injected", [])
    with pytest.raises(UserError, match="inject_slowdown"):
        slower.work()


def test_spin_count_is_odd_to_avoid_respecialization():
    slower.inject_slowdown(400, "cpu")
    turns, sink = slower.work()
    assert turns == 401
    assert sink.shape == (1,)
