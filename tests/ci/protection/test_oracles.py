"""Which edits are edits of an oracle: told from two trees, by path."""

import ast
import shutil

import pytest

from braidcheck.ci.protection import oracles
from braidcheck.environment import PACKAGE

KERNELS = "braidcheck/kernels"
CODEOWNERS = PACKAGE.parent / ".github" / "CODEOWNERS"

SPLIT = sorted({path.parent.name for path in PACKAGE.glob("kernels/*/variants.py")} - {"common"})


@pytest.fixture
def edit(tmp_path):
    """Makes a copy of the package with an edit, and tells the oracles in it that differ."""

    def go(file, old, new):
        ignored = shutil.ignore_patterns("__pycache__", "nano", "nano_golden")
        for name in ("base", "change"):
            shutil.copytree(PACKAGE, tmp_path / name / "braidcheck", ignore=ignored)
        path = tmp_path / "change" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return oracles.edited(tmp_path / "base", tmp_path / "change")

    return go


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        (f"{KERNELS}/rms_norm/oracle.py", "return (rounding.norm_error", "return (10 * rounding.norm_error", "bound"),
        (f"{KERNELS}/rms_norm/cases.py", "    _case(1, 1024),\n", "", "cases"),
        (f"{KERNELS}/rms_norm/op.py", "batch_invariant=True", "batch_invariant=False", "contract"),
        (f"{KERNELS}/rms_norm/op.py", "bound=oracle.bound", "bound=oracle.reference", "contract"),
        (f"{KERNELS}/lm_head/baselines.py", '"""', '""" ', "timing baselines"),
        (f"{KERNELS}/rms_norm/checks.py", '"""', '""" ', "contract checks"),
        (f"{KERNELS}/rms_norm/variants.py", '"""', '""" ', "equivalent implementations"),
        (f"{KERNELS}/common/blocks.py", '"""', '""" ', "equivalent implementations"),
        (f"{KERNELS}/common/variants.py", '"""', '""" ', "equivalent implementations"),
        (f"{KERNELS}/rms_norm/mutants.toml", "[[mutant]]", "[[mutant]] ", "faults"),
        (f"{KERNELS}/rms_norm/__init__.py", "x.numel()", "x.numel() > 1", ""),
        (f"{KERNELS}/rms_norm/kernel.py", "y = rmsnorm_rows(", "y = 2 * rmsnorm_rows(", ""),
        (f"{KERNELS}/common/rms_norm.py", "squares += x * x", "squares += x * x * 2", ""),
        (f"{KERNELS}/common/tuned_configs.py", "block_m=1", "block_m=2", ""),
        (f"{KERNELS}/common/inputs.py", '"""', '""" ', "the cases' numbers"),
        (f"{KERNELS}/common/negative_controls.py", '"""', '""" ', "negative controls"),
        (f"{KERNELS}/common/interpreter_bfloat16.py", "0x7FFF", "0x7FFE", "the interpreter"),
        (f"{KERNELS}/__init__.py", '"""', '""" ', "which ops there are"),
        ("braidcheck/numerics/rounding.py", '"""', '""" ', "references and bounds"),
        ("braidcheck/numerics/error.py", '"""', '""" ', "how errors are measured"),
        ("braidcheck/gates/accuracy/__init__.py", '"""', '""" ', "measurements and limits"),
        ("braidcheck/arch.py", "227", "228", "GPU class"),
        ("braidcheck/mutants/equivalent.toml", "# ", "#  ", "faults, equivalent mutants"),
        ("braidcheck/static/baselines/triton-3.6.0.json", "{", " {", "static baselines"),
        ("braidcheck/models/engine.py", '"""', '""" ', ""),
        ("braidcheck/report/rows.py", '"""', '""" ', ""),
    ],
)
def test_what_decides_is_an_oracle_and_what_computes_is_not(edit, file, old, new, what):
    found = edit(file, old, new)
    assert list(found) == ([file] if what else [])
    assert not what or what in found[file]


def test_a_star_stays_in_one_folder():
    assert oracles.decides("braidcheck/kernels/new_op/oracle.py")
    assert not oracles.decides("braidcheck/kernels/new_op/deeper/oracle.py")
    assert not oracles.decides("tests/braidcheck/kernels/new_op/oracle.py")


def test_every_glob_names_a_file_that_is_there():
    files = [path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*")]
    beside = [path.name for path in PACKAGE.parent.iterdir()]
    unused = [glob for glob in oracles.ORACLES if not any(oracles._matches(name, glob) for name in files + beside)]
    assert not unused


def test_owners_are_asked_for_every_oracle():
    lines = [line.split() for line in CODEOWNERS.read_text().splitlines() if line and not line.startswith("#")]
    assert {path for path, *_ in lines} == {f"/{glob}" for glob in (*oracles.ORACLES, ".github/")}
    assert all(owners for _, *owners in lines)


def imported(path):
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {
        name
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    }


@pytest.mark.parametrize("op", SPLIT)
@pytest.mark.parametrize("file", ["__init__.py", "kernel.py"])
def test_code_under_test_imports_no_oracle(op, file):
    names = {f"{name.replace('.', '/')}.py" for name in imported(PACKAGE / "kernels" / op / file)}
    shared = {"braidcheck/kernels/common/interpreter.py"}
    assert names & {"torch.py", "triton.py"}, "imports are not seen"
    assert [name for name in names - shared if oracles.decides(name)] == []


def test_files_that_come_and_go_count(tmp_path):
    for name in ("base", "change"):
        (tmp_path / name / "braidcheck" / "golden").mkdir(parents=True)
    (tmp_path / "base" / "braidcheck" / "golden" / "old").touch()
    (tmp_path / "base" / "braidcheck" / "golden" / "kept").write_text("kept")
    (tmp_path / "change" / "braidcheck" / "golden" / "kept").write_text("kept, edited")
    (tmp_path / "change" / "constraints.txt").write_text("torch==1")
    assert list(oracles.edited(tmp_path / "base", tmp_path / "change")) == [
        "braidcheck/golden/kept",
        "constraints.txt",
    ]


def test_an_oracle_that_is_taken_out_is_edited(tmp_path):
    for name in ("base", "change"):
        (tmp_path / name / "braidcheck" / "gates").mkdir(parents=True)
    (tmp_path / "base" / "braidcheck" / "gates" / "layers.py").write_text("LIMIT = 1.5")
    assert oracles.edited(tmp_path / "base", tmp_path / "change") == {
        "braidcheck/gates/layers.py": "measurements and limits"
    }
