"""What is compiled: found in a copy of the package that has one kernel file more, in a process of its own."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from braidcheck import kernels
from braidcheck.environment import PACKAGE

PRINT = """
import json
from braidcheck.static import configurations
print(json.dumps([
    [c.op, c.name, c.launch.kernel.__name__, c.launch.signature, c.launch.constants, c.launch.hints, c.launch.options,
     c.cost and [c.cost.bytes, c.cost.flops]]
    for c in configurations.find()
], default=str))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    copy = tmp_path_factory.mktemp("package") / "braidcheck"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "nano*"))
    text = (copy / "kernels" / "linear_residual.py").read_text(encoding="utf-8")
    text = text.replace("def linear_residual(", "def another(").replace('"linear_residual"', '"another"')
    (copy / "kernels" / "another.py").write_text(text.replace("call=linear_residual", "call=another"))
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    variables = kept | {"PYTHONPATH": str(copy.parent), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", PRINT]
    return json.loads(subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout)


def launch_of(found, op, *parts):
    """The only configuration of ``op`` whose name holds all ``parts``."""
    (one,) = [row for row in found if row[0] == op and all(part in row[1] for part in parts)]
    return dict(zip(("op", "name", "kernel", "signature", "constants", "hints", "options", "cost"), one, strict=True))


def test_every_op_is_there_and_a_new_file_is_found(found):
    assert {row[0] for row in found} == {*kernels.find(), "another"}
    ours = [row[1] for row in found if row[0] == "linear_residual" and row[1].startswith("bfloat16")]
    assert ours
    assert ours == [row[1] for row in found if row[0] == "another"]


def test_a_launch_is_specialised_as_on_a_gpu(found):
    one = launch_of(found, "linear_residual", "T1-")
    assert one["signature"]["x_ptr"] == "*bf16"
    assert one["signature"]["num_tokens"] == "constexpr"
    assert one["constants"]["num_tokens"] == 1
    assert one["constants"]["BLOCK_T"] == 16
    assert one["hints"]["weight_ptr"] == "DS"
    assert one["hints"]["length"] == "D"
    assert one["options"] == {"num_warps": 4}
    assert one["cost"][1] == 2 * 3072 * 1024


def test_an_argument_that_is_left_out_is_compiled_in(found):
    one = launch_of(found, "qkv_rope", "T1-")
    assert one["signature"]["bias_ptr"] == "constexpr"
    assert one["constants"]["bias_ptr"] is None
    assert "eps" not in one["constants"]


def test_the_model_decodes_in_batches(found):
    names = {row[1] for row in found}
    assert "Qwen3-0.6B decode of 16, separated" in names
    assert any(name.startswith("Qwen3-0.6B prompt of 512, fully_fused_raw") for name in names)


def test_no_configuration_is_there_twice(found):
    keys = [(row[0], row[2], row[1]) for row in found]
    assert len(keys) == len(set(keys)), "the baseline tells configurations apart by op, kernel and name"
