"""Generated mutants: enough, unique, still Python, with ids that outlast edits elsewhere."""

import ast

import pytest

from braidcheck.mutants import affected_ops, generate, named_faults, selection
from braidcheck.mutants.operators import proposals

KERNEL = '''"""A file."""
import triton
import triton.language as tl


def plain(x):
    return x + 1


@triton.jit
def _copy(x_ptr, y_ptr, count, x_stride, y_stride, N: tl.constexpr):
    """Copies."""
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i * x_stride, mask=i < count, other=0.0).to(tl.float32)
    tl.store(y_ptr + i * y_stride, x, mask=i < count)
'''


@pytest.fixture(scope="module")
def generated():
    return generate.generated()


def descriptions(tmp_path, source):
    file = tmp_path / "copy.py"
    file.write_text(source)
    return {mutant.id: mutant.description for mutant in generate.mutants_of(file, "kernels/copy.py")}


def test_there_are_enough_in_every_op(generated):
    assert len(generated) >= 300
    assert len({mutant.id for mutant in generated}) == len(generated)
    assert {mutant.part for mutant in generated} == {*affected_ops.every(), "shared"}


def test_each_is_another_program(generated):
    for mutant in generated[::40]:
        ast.parse(mutant.text)
    assert len({(mutant.file, mutant.text) for mutant in generated}) > 0.98 * len(generated)


def test_only_kernels_are_mutated_and_ids_do_not_depend_on_lines(tmp_path):
    found = descriptions(tmp_path, KERNEL)
    assert all(name.startswith("copy._copy.") for name in found)
    assert descriptions(tmp_path, KERNEL.replace("def plain", "# a comment\n\n\ndef plain")) == found


@pytest.mark.parametrize(
    "description",
    [
        "i < count becomes i <= count",
        "i < count becomes i >= count",
        "x_stride becomes y_stride",
        "i * x_stride becomes i",
        "tl.arange(0, N) becomes tl.arange(0, N) + 1",
        "tl.store(y_ptr + i * y_stride, x, mask=i < count) becomes tl.store(y_ptr + i * y_stride, x)",
        "tl.store(y_ptr + i * y_stride, x, mask=i < count) becomes pass",
    ],
)
def test_the_operators(tmp_path, description):
    assert f"_copy: {description}" in descriptions(tmp_path, KERNEL).values()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("tl.sqrt(mean + eps)", {"mean + eps", "tl.sqrt(mean + eps).to(tl.bfloat16).to(tl.float32)"}),
        ("tl.sum(x, axis=1)", {"tl.sum(x, axis=1).to(tl.bfloat16).to(tl.float32)"}),
        ("a & b", {"a", "b", "a | b"}),
        ("float('-inf')", {"0.0"}),
        ("tl.max(s, axis=1)", {"tl.min(s, axis=1)"}),
        ("x.to(tl.float32)", {"x", "x.to(tl.bfloat16).to(tl.float32)"}),
    ],
)
def test_what_may_stand_in_the_place_of_a_node(source, expected):
    node = ast.parse(source, mode="eval").body
    assert {ast.unparse(ast.fix_missing_locations(found)) for _, found in proposals(node, [])} == expected


def test_the_equivalents_exist_and_are_few(generated):
    named, listed = {mutant.id for mutant in named_faults.named()}, set(selection.equivalents())
    assert listed <= named | {mutant.id for mutant in generated}
    assert len(listed - named) <= 0.05 * len(generated)
    assert len(listed & named) <= 0.01 * len(named)
