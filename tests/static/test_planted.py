"""Regressions planted in copies of a kernel: each is seen in the machine code and fails the gate with both numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from braidcheck.arch import GPUS
from braidcheck.environment import PACKAGE
from braidcheck.gates import static
from braidcheck.result import Status

SOURCE = (PACKAGE / "kernels" / "linear_residual" / "__init__.py").read_text(encoding="utf-8")
DEVICE = (PACKAGE / "kernels" / "common" / "device.py").read_text(encoding="utf-8")
CUT = 'pinned.cut(f"linear_residual in blocks of {block_t}")'
NAMED = dict.fromkeys(("op", "target", "kernel", "configuration"), "x") | {"op": "demo", "shared_limit": 232448}


def upcast(text):
    """The product of operands widened to float32, as somebody writes who fears bfloat16."""
    begin = DEVICE.index("@triton.jit\ndef project_rows")
    helper = DEVICE[begin : DEVICE.index("@triton.jit", begin + 1)]
    wide = helper.replace("tl.dot(x, w,", "tl.dot(x.to(tl.float32), w.to(tl.float32),")
    assert wide != helper
    return text.replace("from braidcheck.kernels.common.device import project_rows\n", "").replace(
        "@triton.jit\ndef _linear", f"{wide}@triton.jit\ndef _linear"
    )


PLANTS = {
    "as it is": lambda text: text,
    "two warps": lambda text: text.replace(CUT, f"{CUT} | dict(BLOCK_N=256, BLOCK_K=64, num_warps=2)"),
    "upcast": upcast,
    "no hint": lambda text: text.replace("@triton.jit\n", '@triton.jit(do_not_specialize=["weight_stride"])\n'),
    "six stages": lambda text: text.replace(CUT, f"{CUT} | dict(num_stages=6)"),
    "thirty stages": lambda text: text.replace(CUT, f"{CUT} | dict(num_stages=30)"),
    "longer": lambda text: text.replace(
        "    acc += residual.to(tl.float32)\n",
        "    for _ in tl.static_range(4):\n        acc = tl.exp(acc)\n    acc += residual.to(tl.float32)\n",
    ),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    for name, plant in PLANTS.items():
        text = plant(SOURCE)
        assert name == "as it is" or text != SOURCE, f"{name}: the kernel's text has changed"
        (folder / f"{name}.py").write_text(text)
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    variables = kept | {"PYTHONPATH": str(PACKAGE.parent), "TRITON_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, str(Path(__file__).with_name("planted.py")), "sm_90", *map(str, folder.glob("*.py"))]
    return json.loads(subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout)


def judged(rows, name):
    row = NAMED | {"target": "sm_90", **rows[name]}
    baseline = NAMED | {"target": "sm_90", **rows["as it is"]}
    verdicts = static.judge({"triton": "x", "rows": [row]}, [baseline], "demo")
    return next(v for v in verdicts if v.subject == "demo[sm_90]"), next(
        v for v in verdicts if v.subject == "demo[sm_90 baseline]"
    )


def test_the_kernel_as_it_is_passes(rows):
    assert [verdict.status for verdict in judged(rows, "as it is")] == [Status.PASS, Status.PASS]


def test_a_larger_block_spills(rows):
    for verdict in judged(rows, "two warps"):
        assert verdict.status == Status.FAIL
        assert f"spills {rows['two warps']['spills']} bytes a thread" in verdict.sentence


def test_an_upcast_loses_wgmma(rows):
    _, compared = judged(rows, "upcast")
    assert f"lost wgmma: no matrix instruction, {rows['as it is']['matrix']['wgmma']} wgmma in" in compared.sentence
    assert "wgmma" in rows["as it is"]["matrix"]


def test_a_stride_that_is_not_known_to_be_even_narrows_the_loads(rows):
    _, compared = judged(rows, "no hint")
    assert compared.status == Status.FAIL
    assert "narrower loads: " in compared.sentence
    assert "16" in rows["no hint"]["loads"]
    assert static.mean_width(rows["as it is"]["loads"]) == 128


def test_more_stages_leave_room_for_fewer_warps(rows):
    alone, compared = judged(rows, "six stages")
    assert alone.status == Status.PASS
    now, before = rows["six stages"]["occupancy"], rows["as it is"]["occupancy"]
    assert f"fewer resident warps: {now} on a multiprocessor, {before} in the baseline" in compared.sentence
    assert 0 < now < before


def test_what_the_chip_does_not_have_is_said(rows):
    alone, _ = judged(rows, "thirty stages")
    assert alone.status == Status.FAIL
    assert "bytes of shared memory, the chip has 232,448" in alone.sentence
    assert rows["thirty stages"]["occupancy"] == 0
    assert rows["thirty stages"]["shared"] > GPUS["sm_90"].shared_memory_bytes


def test_more_instructions_are_counted(rows):
    _, compared = judged(rows, "longer")
    now, before = rows["longer"]["instructions"], rows["as it is"]["instructions"]
    assert compared.sentence.endswith(
        f"{now:,} instructions, {before:,} in the baseline: {now / before - 1:+.0%}, 10% more are allowed"
    )
