"""Regressions planted in copies of a kernel: each is seen in the machine code and fails the gate with both numbers."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from braidcheck.arch import GPUS
from braidcheck.environment import PACKAGE
from braidcheck.gates import static, static_rules
from braidcheck.result import Status

OP = PACKAGE / "kernels" / "linear_residual"
CONFIG = 'get_config("linear_residual", Regime.TILED, tiled_bucket(block_m)).meta()'
NAMED = dict.fromkeys(("op", "target", "kernel", "configuration"), "x") | {"op": "demo", "shared_limit": 232448}
DOT = "tl.dot(x, w,"  # of the product that this copy of its module computes
RESIDUAL = "    acc += residual.to(tl.float32)\n"
# By name the file of the copy, and what is replaced in it.
PLANTS = {
    "unchanged": ("kernel.py", "", ""),
    "two_warps": ("__init__.py", CONFIG, f"{CONFIG} | dict(BLOCK_N=256, BLOCK_K=64, num_warps=2)"),
    "upcast": ("rms_norm.py", DOT, "tl.dot(x.to(tl.float32), w.to(tl.float32),"),  # by somebody who fears bfloat16
    "no_hint": ("kernel.py", "@triton.jit\n", '@triton.jit(do_not_specialize=["stride_wn"])\n'),
    "six_stages": ("__init__.py", CONFIG, f"{CONFIG} | dict(num_stages=6)"),
    "thirty_stages": ("__init__.py", CONFIG, f"{CONFIG} | dict(num_stages=30)"),
    "longer": (
        "kernel.py", RESIDUAL, f"    for _ in tl.static_range(4):\n        acc = tl.exp(acc)\n{RESIDUAL}",
    ),
}  # fmt: skip


def copy_op(folder):
    """The op, and the module that computes its product, as a package of its own."""
    shutil.copytree(OP, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PACKAGE / "kernels" / "common" / "rms_norm.py", folder)
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8").replace("braidcheck.kernels.linear_residual", folder.name)
        path.write_text(text.replace("braidcheck.kernels.common.rms_norm", f"{folder.name}.rms_norm"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    for name, (file, old, new) in PLANTS.items():
        copy_op(folder / name)
        text = (folder / name / file).read_text()
        assert old in text, f"{name}: {file} has changed"
        (folder / name / file).write_text(text.replace(old, new) if old else text)
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    variables = kept | {"PYTHONPATH": str(PACKAGE.parent), "TRITON_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, str(Path(__file__).with_name("planted.py")), "sm_90"]
    command += [str(folder / name) for name in PLANTS]
    return json.loads(subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout)


def evaluated(rows, name):
    row = NAMED | {"target": "sm_90", **rows[name]}
    baseline = NAMED | {"target": "sm_90", **rows["unchanged"]}
    verdicts = static.evaluate({"triton": "x", "rows": [row]}, [baseline], "demo")
    return next(v for v in verdicts if v.subject == "demo[sm_90]"), next(
        v for v in verdicts if v.subject == "demo[sm_90 baseline]"
    )


def test_the_kernel_as_it_is_passes(rows):
    assert [verdict.status for verdict in evaluated(rows, "unchanged")] == [Status.PASS, Status.PASS]


def test_a_larger_block_spills(rows):
    for verdict in evaluated(rows, "two_warps"):
        assert verdict.status == Status.FAIL
        assert f"spills {rows['two_warps']['spills']} bytes a thread" in verdict.message


def test_an_upcast_loses_wgmma(rows):
    _, compared = evaluated(rows, "upcast")
    assert f"lost wgmma: no matrix instruction, {rows['unchanged']['matrix']['wgmma']} wgmma in" in compared.message
    assert "wgmma" in rows["unchanged"]["matrix"]


def test_a_stride_that_is_not_known_to_be_even_narrows_the_loads(rows):
    _, compared = evaluated(rows, "no_hint")
    assert compared.status == Status.FAIL
    assert "narrower loads: " in compared.message
    assert "16" in rows["no_hint"]["loads"]
    assert static_rules.mean_width(rows["unchanged"]["loads"]) == 128


def test_more_stages_leave_room_for_fewer_warps(rows):
    alone, compared = evaluated(rows, "six_stages")
    assert alone.status == Status.PASS
    now, before = rows["six_stages"]["occupancy"], rows["unchanged"]["occupancy"]
    assert f"fewer resident warps: {now} on a multiprocessor, {before} in the baseline" in compared.message
    assert 0 < now < before


def test_what_the_chip_does_not_have_is_said(rows):
    alone, _ = evaluated(rows, "thirty_stages")
    assert alone.status == Status.FAIL
    assert "bytes of shared memory, the chip has 232,448" in alone.message
    assert rows["thirty_stages"]["occupancy"] == 0
    assert rows["thirty_stages"]["shared"] > GPUS["sm_90"].shared_memory_bytes


def test_more_instructions_are_counted(rows):
    _, compared = evaluated(rows, "longer")
    now, before = rows["longer"]["instructions"], rows["unchanged"]["instructions"]
    assert compared.message.endswith(
        f"{now:,} instructions, {before:,} in the baseline: {now / before - 1:+.0%}, 10% more are allowed"
    )
