"""Which edits are edits of a judge: told from two trees."""

import shutil

import pytest

from braidcheck.ci.protection import oracles
from braidcheck.environment import PACKAGE

LINEAR, DEVICE, FUSED = (
    f"braidcheck/kernels/{name}" for name in ("linear_residual", "common/rms_norm.py", "fused_attention")
)


@pytest.fixture
def edit(tmp_path):
    """Makes a copy of the package with an edit, and tells the judges in it that differ."""

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
    ("file", "old", "new", "why"),
    [
        (f"{LINEAR}/oracle.py", "return (error + ", "return (10 * error + ", "the op's references"),
        (f"{LINEAR}/cases.py", "    _case(9, 512, 256, \"sparse\"),\n", "", "the op's references, bounds or cases"),
        (f"{LINEAR}/cases.py", '"T": tokens', '"T": tokens // 2', "the op's references, bounds or cases"),
        (f"{LINEAR}/oracle.py", "(rounding.wide(residual) + product)", "ours(x)", "the op's references"),
        (f"{LINEAR}/__init__.py", 'outputs={"out": "residual"}', 'outputs={"out": "x"}', "OP"),
        (f"{LINEAR}/cases.py", "CASES = (", "CASES = (", ""),
        (f"{LINEAR}/kernel.py", "acc += residual.to(tl.float32)", "acc += 2 * residual.to(tl.float32)", ""),
        (f"{LINEAR}/kernel.py", "acc = gemv_dot(x, weight", "acc = 2 * gemv_dot(x, weight", ""),
        (f"{LINEAR}/cases.py", "def inputs(", "def inputs((", "the op's references"),
        (f"{LINEAR}/__init__.py", "OP = Op(", "OP = Op((", "a file that cannot be read"),
        (DEVICE, "squares += x * x", "squares += x * x * 2", ""),
        ("braidcheck/kernels/common/interpreter.py", "0x7FFF", "0x7FFE", "the interpreter"),
        ("braidcheck/kernels/common/interpreter.py", "np.zeros", "np.ones", "the interpreter"),
        (f"{FUSED}/oracle.py", '"""', '""" ', "the op's references"),
        (f"{FUSED}/kernel.py", '"""', '""" ', ""),
        ("braidcheck/numerics/rounding.py", '"""', '""" ', "references and bounds"),
        ("braidcheck/numerics/error.py", '"""', '""" ', "how errors are measured"),
        ("braidcheck/gates/accuracy.py", '"""', '""" ', "limits"),
        ("braidcheck/mutants/equivalent.toml", "# ", "#  ", "faults, equivalent mutants"),
        ("braidcheck/static/baselines/triton-3.6.0.json", "{", " {", "static baselines"),
        ("braidcheck/models/qwen3/engine.py", '"""', '""" ', ""),
        ("braidcheck/report/rows.py", '"""', '""" ', ""),
    ],
)  # fmt: skip
def test_what_decides_is_a_judge_and_what_computes_is_not(edit, file, old, new, why):
    found = edit(file, old, new)
    assert list(found) == ([file] if why else [])
    assert not why or why in found[file]


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
