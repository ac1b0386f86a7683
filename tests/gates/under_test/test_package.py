"""Kernels of another tree under this one's oracles: whatever that tree does to its own oracles, a fault is seen."""

import shutil
import sys
from dataclasses import replace

import pytest
import torch

from braidcheck import kernels, models
from braidcheck.environment import PACKAGE
from braidcheck.gates import accuracy, under_test
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.gates.edges import measure as edges
from braidcheck.gates.engine import tiny
from braidcheck.gates.engine.measure import engine_checks
from braidcheck.gates.fence.measure import red_zones
from braidcheck.gates.under_test import interpreter
from braidcheck.gates.under_test.package import PackageUnderTest
from braidcheck.result import Status

LINEAR, DEVICE = "kernels/linear_residual", "kernels/common/interpreter_bfloat16.py"
INIT, KERNEL = f"{LINEAR}/__init__.py", f"{LINEAR}/kernel.py"
RESIDUAL = "residual.to(tl.float32)"
FEW = f"sum_slices(acc, NUM_SLICES) + {RESIDUAL}"  # as case_of's are
# One element is off, too little for the norm of all of them.
ELEMENT = (KERNEL, FEW, f"{FEW} + tl.where((offs_m == 1)[:, None] & (offs_n == 1)[None, :], 0.1, 0.0)")
FAULT = (KERNEL, RESIDUAL, f"{RESIDUAL} * 1.02")
NUMBERS = '"residual": numbers.'
# Each lets the fault pass where the change's own oracles are asked.
FOOLING = {
    "a looser bound": (f"{LINEAR}/oracle.py", "return (error + ", "return (1e9 + error + "),
    "looser pieces of bounds": ("numerics/rounding.py", "U32 = ", "U32 = 1e9 * "),
    "a reference that calls the kernel": (
        f"{LINEAR}/op.py", "reference=oracle.reference",
        "reference=lambda x, weight, residual: linear_residual(*(t.bfloat16() for t in (x, weight, residual)))",
    ),
    "a looser comparison": ("numerics/error.py", "error_ratio=float(error_ratio[worst])", "error_ratio=0.0"),
    "a looser gate": ("gates/accuracy/__init__.py", "Status.FAIL, message, worst", "Status.PASS, message, worst"),
    "larger numbers": (f"{LINEAR}/cases.py", NUMBERS, '"residual": 1e4 * numbers.'),
}  # fmt: skip


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """Puts a copy of the package with some edits under judgement."""

    def go(*edits):
        ignored = shutil.ignore_patterns("__pycache__", "nano", "nano_golden")
        shutil.copytree(PACKAGE, tmp_path / "braidcheck", ignore=ignored)
        for file, old, new in edits:
            path = tmp_path / "braidcheck" / file
            text = path.read_text()
            assert old in text
            path.write_text(text.replace(old, new))
        tree = PackageUnderTest(tmp_path)
        monkeypatch.setattr(under_test, "_packages", [tree])
        return tree

    return go


def case_of(op):
    return next(case for case in op.cases if case.profile == "tail" and case["T"] > 1)


def verdict(function=None):
    op = kernels.find()["linear_residual"]
    return accuracy.evaluate(measure_op(op, case_of(op), "cpu", function or under_test.wrapper("linear_residual")))


@pytest.mark.parametrize("name", FOOLING)
def test_edited_oracle_does_not_hide_fault(evaluated, name):
    tree = evaluated(ELEMENT, FOOLING[name])
    own = tree.module("kernels.linear_residual.op").OP
    fooled = tree.module("gates.accuracy").evaluate(tree.module("gates.accuracy.measure").measure_op(own, case_of(own)))
    assert fooled.status == "pass"
    assert verdict().status == Status.FAIL
    assert verdict(kernels.find()["linear_residual"].call).status == Status.PASS


def test_outputs_are_prefilled_by_base_oracles(evaluated):
    mask = "(offs_m < M)[:, None] & (offs_n < N)"
    unwritten = (KERNEL, mask, mask.replace("< N", "< N - 1"))
    evaluated(unwritten, ("numerics/calls.py", "fill_uninitialized_memory = True", "fill_uninitialized_memory = False"))
    assert "unwritten memory" in verdict().message  # filled with a finite number in this case


def test_an_unchanged_tree_passes_all_the_same(evaluated):
    evaluated()
    assert verdict().status == Status.PASS
    op = replace(kernels.find()["rms_norm"], call=under_test.wrapper("rms_norm"))
    assert [probe() for _, probe in edges.edge_checks(op, op.call, "cpu")] == [None] * 4


def test_a_removed_case_is_still_asked(evaluated):
    evaluated(FAULT, (f"{LINEAR}/cases.py", '    _case(7, 1000, 331, "tail"),\n', ""))
    assert verdict().status == Status.FAIL


def test_fence_calls_other_trees_kernel(evaluated):
    evaluated((KERNEL, "offs_m[:, None] * stride_rm", "offs_m[:, None] * N"))
    assert verdict().status == Status.PASS
    op = kernels.find()["linear_residual"]
    _, case, guard = next(row for row in red_zones(op, "cpu") if row[1] == case_of(op))
    assert accuracy.evaluate(measure_op(op, case, "cpu", guard(under_test.wrapper(op.name)))).status == Status.FAIL


def test_another_interpreter_of_the_change_is_put_back(evaluated):
    kernels.find()
    before = interpreter.state()
    tree = evaluated((DEVICE, "0x7FFF", "0x7FFE"))
    assert tree.module("kernels.linear_residual").linear_residual is not kernels.find()["linear_residual"].call
    assert interpreter.state() == before


def test_oracles_are_not_replaced(evaluated):
    names = {name: module for name, module in sys.modules.items() if name.startswith("braidcheck")}
    path = list(sys.path)
    tree = evaluated(
        (INIT, "import torch\n", "import torch\nimport braidcheck.gates.accuracy as gate\ngate.LIMIT = 1e9\n"), FAULT
    )
    tree.module("models.engine")
    assert {name: sys.modules[name] for name in names} == names
    assert sys.path == path
    assert accuracy.LIMIT == 1.0
    assert verdict().status == Status.FAIL


def test_an_import_that_fails_leaves_everything_in_place(evaluated):
    names = {name: module for name, module in sys.modules.items() if name.startswith("braidcheck")}
    evaluated((INIT, "import torch\n", "import torch\nraise RuntimeError('no')\n"))
    with pytest.raises(RuntimeError, match="no"):
        under_test.wrapper("linear_residual")
    assert {name: sys.modules[name] for name in names} == names


@pytest.mark.numeric
def test_engine_and_blame_are_of_the_other_tree(evaluated, assert_tiny):
    tree = evaluated(FAULT)
    with torch.random.fork_rng(devices=[]):
        model = tiny.make(models.find()["qwen3"])
    named = dict(engine_checks(model, model, "cpu"))
    assert "off by" in named["prefill separated"]()
    engine = tree.module("models.engine").Engine.load(model.directory, "cpu", torch.float32)
    truth = kernels.find()["linear_residual"].reference
    repaired = engine.with_ops(engine.model.ops.replace(linear_residual=truth)).forward_logits(model.ids)
    assert_tiny(repaired, model, model.ids)
