"""Generated mutants: enough, unique, still Python, with ids that outlast edits elsewhere."""

import ast
from pathlib import Path

import pytest

from braidcheck.mutants import affected_ops, generate, named_faults, operators, selection
from braidcheck.mutants.mutant import PACKAGE
from braidcheck.mutants.operators import proposals

KERNEL = '''"""A file."""
import triton
import triton.language as tl


def plain(x):
    return x + 1


@triton.jit
def _copy(x_ptr, y_ptr, count, stride_xm, stride_ym, N: tl.constexpr):
    """Copies."""
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i * stride_xm, mask=i < count, other=0.0).to(tl.float32)
    tl.store(y_ptr + i * stride_ym, x, mask=i < count)
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


def test_every_operator_makes_mutants_of_the_kernels(generated):
    """An operator that looks for names which kernels no longer have makes none."""
    assert {operator_of(mutant) for mutant in generated} == written_operators()


def test_every_kernel_with_two_strides_has_mutants_of_each(generated):
    found = {mutant.description for mutant in generated if operator_of(mutant) == "stride"}
    kernels = [
        function
        for file in {mutant.file for mutant in generated}
        for function in affected_ops.functions(PACKAGE / file).values()
        if affected_ops.is_device(function)
    ]
    for kernel in kernels:
        strides = [argument.arg for argument in kernel.args.args if argument.arg.startswith("stride")]
        changed = {name for name in strides if any(text.startswith(f"{kernel.name}: {name} becomes") for text in found)}
        assert changed == (set(strides) if len(strides) > 1 else set()), kernel.name


@pytest.mark.parametrize(
    ("operator", "table", "form"),
    [
        ("size", operators.NAMES, "{}"),
        ("tensor", operators.TENSORS, "{}"),
        ("tensor", operators.TABLES, "{}"),
        ("half", operators.HALVES, "{}"),
        ("function", operators.FUNCTIONS, "tl.{}("),
        ("narrow", operators.ROUNDED, "tl.{}("),
    ],
)
def test_every_word_of_a_table_makes_mutants_of_the_kernels(generated, operator, table, form):
    changed = {mutant.description.split(": ", 1)[1] for mutant in generated if operator_of(mutant) == operator}
    words = [form.format(word) for word in table]
    assert not [word for word in words if not any(word in text.split(" becomes ")[0] for text in changed)]


def test_no_mutant_reads_a_name_that_has_no_value(generated):
    """It would be killed by the compiler, whatever the gates can see."""
    for mutant in generated:
        if operator_of(mutant) in ("stride", "size", "tensor", "half"):
            name = mutant.id.rsplit(".", 2)[0].partition(".")[2]
            changed = next(node for node in ast.parse(mutant.text).body if getattr(node, "name", "") == name)
            assert names(changed) <= names(affected_ops.functions(PACKAGE / mutant.file)[name]), mutant.id


def operator_of(mutant):
    return mutant.id.rsplit(".", 2)[1]


def written_operators():
    """The names that stand first in the pairs of the operators' source."""
    pairs = [node.elts for node in ast.walk(ast.parse(Path(operators.__file__).read_text())) if is_proposal(node)]
    return {first.value for first, _ in pairs}


def is_proposal(node):
    constants = [isinstance(part, ast.Constant) for part in node.elts] if isinstance(node, ast.Tuple) else []
    return constants == [True, False] and isinstance(node.elts[0].value, str)


def names(function):
    return {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} | {a.arg for a in function.args.args}


def test_only_kernels_are_mutated_and_ids_do_not_depend_on_lines(tmp_path):
    found = descriptions(tmp_path, KERNEL)
    assert all(name.startswith("copy._copy.") for name in found)
    assert descriptions(tmp_path, KERNEL.replace("def plain", "# a comment\n\n\ndef plain")) == found


@pytest.mark.parametrize(
    "description",
    [
        "i < count becomes i <= count",
        "i < count becomes i >= count",
        "stride_xm becomes stride_ym",
        "i * stride_xm becomes i",
        "tl.arange(0, N) becomes tl.arange(0, N) + 1",
        "tl.store(y_ptr + i * stride_ym, x, mask=i < count) becomes tl.store(y_ptr + i * stride_ym, x)",
        "tl.store(y_ptr + i * stride_ym, x, mask=i < count) becomes pass",
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


def test_a_name_is_replaced_only_by_one_that_has_a_value():
    def made(name, arguments=(), assigned=()):
        return [(what, found.id) for what, found in proposals(ast.Name(name, ast.Load()), arguments, assigned)]

    assert made("cos") == made("x1") == made("q_ptr") == []
    assert made("cos", assigned=["sin"]) == [("tensor", "sin")]
    assert made("x1", ["x2"]) == made("x1", assigned=["x2"]) == [("half", "x2")]
    assert made("stride_xm", ["stride_xm", "stride_wn"]) == [("stride", "stride_wn")]
    assert made("x_stride", ["y_stride", "x_stride"]) == [("stride", "y_stride")]
    assert made("stride_xm", ["stride_xm"], assigned=["stride_ym"]) == []


def test_no_mutant_takes_the_dtype_of_the_other_half(tmp_path):
    """It is the same."""
    source = "@triton.jit\ndef _f(x_ptr, x1, x2):\n    tl.store(x_ptr, x1.to(x2.dtype))\n"
    assert "_f: x1 becomes x2" in descriptions(tmp_path, source).values()
    assert "_f: x2 becomes x1" not in descriptions(tmp_path, source).values()


def test_the_equivalents_exist_and_are_few(generated):
    named, listed = {mutant.id for mutant in named_faults.named()}, set(selection.equivalents())
    assert listed <= named | {mutant.id for mutant in generated}
    assert len(listed - named) <= 0.05 * len(generated)
    assert len(listed & named) <= 0.01 * len(named)
