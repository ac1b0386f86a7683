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
print(json.dumps([[
    [c.op, c.name, c.launch.kernel.__name__, c.launch.signature, c.launch.constants, c.launch.hints, c.launch.options,
     c.cost and [c.cost.bytes, c.cost.flops]]
    for c in configurations.find((), capability)
] for capability in ((8, 0), (9, 0))], default=str))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    copy = tmp_path_factory.mktemp("package") / "braidcheck"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "nano*"))
    shutil.copytree(copy / "kernels" / "cache_write", copy / "kernels" / "another")
    for file in (copy / "kernels" / "another").glob("*.py"):
        text = file.read_text(encoding="utf-8").replace("cache_write", "another")
        text = text.replace('get_config("another")', 'get_config("cache_write")')  # what is not the op's own
        file.write_text(text.replace("eager_another", "eager_cache_write"))
    return copy


@pytest.fixture(scope="module")
def found_by_capability(package):
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    variables = kept | {"PYTHONPATH": str(package.parent), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", PRINT]
    return json.loads(subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="module")
def found(found_by_capability):
    return found_by_capability[0]


@pytest.fixture(scope="module")
def found_on_hopper(found_by_capability):
    return found_by_capability[1]


def launch_of(found, op, *parts):
    """The only configuration of ``op`` whose name holds all ``parts``."""
    (one,) = [row for row in found if row[0] == op and all(part in row[1] for part in parts)]
    return dict(zip(("op", "name", "kernel", "signature", "constants", "hints", "options", "cost"), one, strict=True))


def test_every_op_is_there_and_a_new_file_is_found(found):
    assert {row[0] for row in found} == {*kernels.find(), "another"}
    own_rows = [row[1] for row in found if row[0] == "cache_write" and row[1].startswith("bfloat16")]
    assert own_rows
    assert own_rows == [row[1] for row in found if row[0] == "another"]


def test_a_launch_is_specialised_as_on_a_gpu(found):
    one = launch_of(found, "linear_residual", "T1-")
    assert one["signature"]["x_ptr"] == "*bf16"
    assert one["kernel"] == "linear_residual_gemv_kernel"
    assert one["signature"]["BLOCK_N"] == "constexpr"
    assert one["constants"]["K"] == 3072
    assert one["hints"]["weight_ptr"] == "DS"
    assert one["hints"]["N"] == "D"
    assert one["options"] == {"num_warps": 4}
    assert one["cost"][1] == 2 * 3072 * 1024


def test_an_argument_that_is_left_out_is_compiled_in(found):
    one = launch_of(found, "qkv_rope", "T1-")
    assert one["signature"]["bias_ptr"] == "constexpr"
    assert one["constants"]["bias_ptr"] is None
    assert "eps" not in one["constants"]


def test_the_model_decodes_in_batches(found):
    names = {row[1] for row in found}
    assert "Qwen3-0.6B decode of 16, production" in names
    assert any(name.startswith("Qwen3-0.6B prompt of 512, fully_fused_raw") for name in names)


def test_no_configuration_is_there_twice(found, found_on_hopper):
    for rows in (found, found_on_hopper):
        keys = [(row[0], row[2], row[1]) for row in rows]
        assert len(keys) == len(set(keys)), "the baseline tells configurations apart by op, kernel and name"


def test_one_kernel_for_two_widths_is_told_apart(found_on_hopper):
    for width in (2048, 3072):
        one = launch_of(found_on_hopper, "linear_residual", f"decode of 1, production, K {width}")
        assert one["constants"]["K"] == width


def test_each_gpu_has_the_cuts_pinned_for_it_and_overlaps_decode_if_it_can(found, found_on_hopper):
    from braidcheck.kernels.common.kernel_config import ANY, GEMV
    from braidcheck.kernels.common.tuned_configs import DEFAULT_CONFIGS, SM_90_CONFIGS

    for rows, configs, overlaps in ((found, DEFAULT_CONFIGS, False), (found_on_hopper, SM_90_CONFIGS, True)):
        config = configs["rms_norm_qkv", GEMV, ANY]
        case = launch_of(rows, "rms_norm_qkv", "bfloat16", "T1-")
        assert case["constants"]["BLOCK_N"] == config.block_n
        assert case["options"] == {"num_warps": config.num_warps}
        assert not case["constants"]["USE_PDL"]
        step = [row for row in rows if row[1].startswith("Qwen3-0.6B decode") and "USE_PDL" in row[4]]
        assert {row[4]["USE_PDL"] for row in step} == {overlaps}
        assert {row[6].get("launch_pdl", False) for row in step} == {overlaps}
