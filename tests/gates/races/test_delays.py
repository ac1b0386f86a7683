"""The delayed package: kernels that share memory sleep before each thing that they do to it, others are left alone."""

import ast
import os

import pytest

from braidcheck.environment import PACKAGE
from braidcheck.gates.races import delays

SOURCE = '''
"""A module."""
from __future__ import annotations

@triton.jit
def _helper(x_ptr):
    return tl.load(x_ptr)


@triton.jit
def kernel(x_ptr, USE_PDL: tl.constexpr):
    """What it does."""
    pid = tl.program_id(0)
    HALF: tl.constexpr = half(2)
    pdl.launch_dependents(USE_PDL)
    for start in range(0, 4):
        x = _helper(x_ptr + start)
    if tl.atomic_add(x_ptr, 1) == 3:
        tl.store(x_ptr, x)


def op(x):
    kernel[(1,)](x, USE_PDL=False)
'''


def test_each_statement_that_touches_memory_is_preceded_by_a_sleep():
    late = ast.parse(delays.delayed(SOURCE, {"kernel"}))
    (kernel,) = [node for node in late.body if isinstance(node, ast.FunctionDef) and node.name == "kernel"]
    lines = ast.unparse(kernel).splitlines()
    assert "def kernel(_seed_ptr, x_ptr, USE_PDL: tl.constexpr):" in lines
    after = {lines[at + 1].strip() for at, line in enumerate(lines) if "sleep.sleep(_seed, " in line}
    assert after == {
        "pdl.launch_dependents(USE_PDL)",
        "x = _helper(x_ptr + start)",
        "if tl.atomic_add(x_ptr, 1) == 3:",
        "tl.store(x_ptr, x)",
    }
    assert "kernel[1,](sleep.seed(), x, USE_PDL=False)" in ast.unparse(late)


def test_a_source_without_such_kernels_stays_as_it_is():
    assert delays.delayed(SOURCE, {"another"}) == SOURCE


@pytest.mark.parametrize("op", ["decode_attention", "linear_residual", "gate_up_silu", "rms_norm_qkv", "lm_head"])
def test_kernels_with_pdl_or_an_atomic_sleep(op):
    assert delays.sleeps(op)
    assert delays.has_atomics(op) == (op == "decode_attention")


def test_a_tree_links_what_does_not_sleep(tmp_path):
    tree = delays.delayed_tree(PACKAGE.parent, tmp_path) / PACKAGE.name
    assert "sleep.sleep(" in (tree / "kernels/decode_attention/kernel.py").read_text(encoding="utf-8")
    assert not delays.sleeps("sample")
    assert os.path.samefile(tree / "kernels/sample/kernel.py", PACKAGE / "kernels/sample/kernel.py")
