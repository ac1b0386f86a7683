"""Mutants of another project's source: which functions, minimal edits, nothing that is only written otherwise."""

import ast

import pytest

from braidcheck.errors import UserError
from braidcheck.mutants.project.generate import DEVICE, HOST, SourceFile

SOURCE = '''
import triton
import triton.language as tl

@triton.jit(do_not_specialize=["n"])
def _scale(x_ptr, y_ptr, stride_x, stride_y, n, BLOCK: tl.constexpr):
    """Doubles."""
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)  # ö
    tl.static_assert(BLOCK > 1)
    x = tl.load(x_ptr + offs, mask=offs < n, other=0.0)
    for step in range(0, n, BLOCK):
        x += 0.0 < x < 1.0
    tl.store(y_ptr + offs, x * 2.0, mask=offs < n)


class Scale:
    def launch(self, x, y):
        if x.shape[0] == 0:
            raise ValueError(f"{x.shape[0] - 1} rows")
        _scale[(triton.cdiv(x.numel(), 64),)](x.contiguous(), y, 1, 1, x.numel(), BLOCK=64, num_warps=4)


def untouched(x):
    return x + 1
'''


@pytest.fixture
def source(tmp_path):
    (tmp_path / "kernel.py").write_text(SOURCE, encoding="utf-8")
    return SourceFile(tmp_path, tmp_path / "kernel.py")


def test_kernels_and_what_launches_them_are_mutated(source):
    families = {(mutant.function, mutant.family) for mutant in source.mutants()}
    assert families == {("_scale", DEVICE), ("Scale.launch", HOST)}


def test_a_kernel_that_is_chosen_or_lies_elsewhere_is_launched_too(tmp_path):
    text = "from lib import k\ndef launch(x, n):\n    chosen = k.one if n > 1 else k.two\n    chosen[(n,)](x)\n"
    (tmp_path / "host.py").write_text(text, encoding="utf-8")
    assert not list(SourceFile(tmp_path, tmp_path / "host.py").mutants())
    assert {mutant.family for mutant in SourceFile(tmp_path, tmp_path / "host.py", ["two"]).mutants()} == {HOST}


def test_a_mutant_changes_one_line_and_keeps_the_rest(source):
    for mutant in source.mutants():
        ast.parse(mutant.text)
        removed, added = ([line for line in mutant.diff if line[0] == sign] for sign in "-+")
        assert len(removed) == len(added) == 1, mutant.diff
        assert removed[0][1:] == SOURCE.splitlines()[mutant.line - 1]


def test_what_others_write_is_mutated(source):
    changed = {(mutant.operator, mutant.diff[-1].strip("+ ")) for mutant in source.mutants()}
    assert ("tensor", "x = tl.load(y_ptr + offs, mask=offs < n, other=0.0)") in changed
    assert ("last-turn", "for step in range(0, n - BLOCK, BLOCK):") in changed
    assert ("mask", "tl.store(y_ptr + offs, x * 2.0)") in changed
    assert any(operator == "floor" and "x.numel() // 64" in line for operator, line in changed)
    assert any(operator == "layout" and "](x, y," in line for operator, line in changed)


@pytest.mark.parametrize(("x", "y"), [("stride_x", "stride_y"), ("x_stride", "y_stride"), ("strideX", "strideY")])
def test_each_stride_is_exchanged_once_however_it_is_written(tmp_path, x, y):
    text = f"import triton\n@triton.jit\ndef k(a_ptr, b_ptr, {x}, {y}):\n    return a_ptr + {x}, b_ptr + {y}\n"
    (tmp_path / "k.py").write_text(text, encoding="utf-8")
    found = [mutant for mutant in SourceFile(tmp_path, tmp_path / "k.py").mutants() if mutant.operator == "stride"]
    assert [mutant.description for mutant in found] == [f"{x} becomes {y}", f"{y} becomes {x}"]


def test_text_hints_and_launch_options_are_left_alone(source):
    added = "\n".join(mutant.diff[-1] for mutant in source.mutants())
    assert "rows" not in added
    assert "static_assert" not in added
    assert "num_warps=5" not in added


def test_no_two_mutants_have_the_same_bytecode(tmp_path):
    (tmp_path / "k.py").write_text(
        "import triton\n@triton.jit\ndef k(a, n):\n    b = (n) == 1\n    c = a if n else a\n", encoding="utf-8"
    )
    mutants = list(SourceFile(tmp_path, tmp_path / "k.py").mutants())
    # "==" has one opposite, which two operators make; exchanging equal choices changes nothing.
    assert sorted(mutant.operator for mutant in mutants) == ["boundary", "constant"]


def test_a_function_can_be_made_unreachable(source):
    body = ast.parse(source.unreachable("_scale"))
    kernel = next(node for node in body.body if getattr(node, "name", "") == "_scale")
    assert len(kernel.body) == 1
    with pytest.raises(ImportError):
        exec(source.unimportable())


def test_what_is_no_python_is_refused(tmp_path):
    (tmp_path / "k.py").write_text("def", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as Python"):
        SourceFile(tmp_path, tmp_path / "k.py")
