"""Slow-downs put into kernels: real work, the same answers, nothing else changed."""

import ast
import os
import subprocess
import sys

import pytest

from braidcheck import kernels
from braidcheck.errors import UserError
from braidcheck.paired.slower import launched, slow_tree, slowed
from braidcheck.paired.trees import PACKAGE, REPOSITORY, judged_tree

KERNEL = '''
@triton.jit
def _op(
    x_ptr, count,
):  # fmt: skip
    """A story."""
    tl.store(x_ptr, count)


def op(x):
    _op[(1,)](x, 1)
'''


def test_no_turns_change_nothing():
    assert slowed(KERNEL, "_op", 0) == KERNEL


def test_the_work_comes_first_and_its_result_is_kept():
    body = ast.parse(slowed(KERNEL, "_op", 7)).body[0].body
    assert [type(node).__name__ for node in body] == ["Expr", "Assign", "For", "If", "Expr"]
    assert "range(7)" in ast.unparse(body[2])
    assert "tl.store(x_ptr" in ast.unparse(body[3])


@pytest.mark.parametrize("op", kernels.find())
def test_every_op_launches_a_kernel_that_can_be_slowed(op):
    path, kernel = launched(PACKAGE, op)
    compile(slowed(path.read_text(), kernel, 5), path, "exec")


AHEAD = """
import importlib, sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
kernel = importlib.import_module("braidcheck.kernels.rms_norm")._rms_norm
kinds = {"_ptr": "*fp32", "_stride": "i32", "num_rows": "i32", "width": "i32", "eps": "fp32"}
kinds = {n: next((k for end, k in kinds.items() if n.endswith(end)), "constexpr") for n in kernel.arg_names}
constants = {"ROWS": 1, "BLOCK": 1024, "HAS_RESIDUAL": False}
source = ASTSource(kernel, kinds, constexprs=constants)
print(triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"])
"""


def test_the_compiler_keeps_the_work(tmp_path):
    slower = slow_tree(judged_tree(REPOSITORY, tmp_path / "plain"), tmp_path / "slower", {"rms_norm": 377})
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    env |= {"PYTHONPATH": str(slower), "PYTHONSAFEPATH": "1", "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    asked = subprocess.run([sys.executable, "-c", AHEAD], env=env, check=True, capture_output=True, text=True)
    _, _, loop = asked.stdout.partition(", 377;")
    assert "fma.rn.f32" in loop.split("bra", 1)[0]


def test_an_op_that_is_not_there():
    with pytest.raises(UserError, match="no op nothing"):
        launched(PACKAGE, "nothing")


def test_a_slower_kernel_gives_the_same_answer(tmp_path):
    tree = judged_tree(REPOSITORY, tmp_path / "plain")
    slower = slow_tree(tree, tmp_path / "slower", {"rms_norm": 30})
    changed = [
        path for path in slower.rglob("*.py") if path.read_bytes() != (tree / path.relative_to(slower)).read_bytes()
    ]
    assert [path.name for path in changed] == ["rms_norm.py"]
    code = """
        from braidcheck.kernels.rms_norm import OP
        print(OP.call(**OP.inputs(OP.cases[2], "cpu")).double().sum().item(), OP.call.__code__.co_filename)
    """
    said = []
    for folder in (tree, slower):
        env = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
        words = [sys.executable, "-c", "import textwrap; exec(textwrap.dedent('''" + code + "'''))"]
        out = subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout.split()
        assert out[1].startswith(str(folder))
        said.append(out[0])
    assert said[0] == said[1]
