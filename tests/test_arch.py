"""GPU classes: occupancy next to what NVIDIA's and AMD's own tables give, and classes that nobody knows.

A throw-away class is a row in ``arch.py``; with tuned launch configs it is an entry in ``tuned_configs.py`` too.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from braidcheck.arch import GENERIC, GPUS, of_capability
from braidcheck.environment import PACKAGE

ROWS = "(SM_80, SM_90, SM_100, GFX942)"
ROW = '(SM_80, SM_90, SM_100, GFX942, Arch("sm_86", triton_arch=86, shared_memory_bytes=99 * KIB, **_NVIDIA))'
TUNED = 'TUNED_CONFIGS: Mapping[str, Configs] = {"sm_90": SM_90_CONFIGS,'
ENTRY = f'{TUNED} "sm_86": {{**DEFAULT_CONFIGS, ("cache_write", TILED, ANY): KernelConfig(block_m=8)}},'
# What each consumer of the classes makes of the new one, as JSON: sizes of the launch that it gets among them.
FOUND_BY = """
import json
from braidcheck import kernels
from braidcheck.arch import GPUS, of_capability
from braidcheck.gates import static as gate
from braidcheck.kernels.common.configs import get_config, launch_arch
from braidcheck.static import resources
from braidcheck.static.launches import as_if_on, of_case

op = kernels.find()["cache_write"]
with as_if_on((8, 6)):
    found = {"launches as": launch_arch().name, "config": get_config("cache_write").block_m}
    (launch,) = of_case(op, op.cases[0])
print(json.dumps(found | {
    "launched": launch.constants["BLOCK_M"],
    "class": of_capability((8, 6)).name,
    "subjects": [subject for subject in gate.op_subjects("cache_write") if "sm_86" in subject],
    "compiled": resources.read(launch, GPUS["sm_86"])["instructions"] > 0,
}))
"""


@pytest.mark.parametrize(
    ("target", "registers", "shared", "warps", "resident"),
    [
        ("sm_80", 32, 0, 4, 64),  # nothing is scarce
        ("sm_90", 255, 0, 4, 8),  # 256 * 32 registers a warp: eight warps fill the file
        ("sm_90", 168, 0, 4, 12),
        ("sm_90", 168, 114688, 4, 8),  # two programs of 112 KiB and 1 KiB each
        ("sm_90", 168, 116736, 4, 4),  # two of 114 KiB leave nothing for the system
        ("sm_90", 32, 0, 1, 32),  # at most 32 programs
        ("sm_80", 32, 163 * 1024, 8, 8),  # all that one program may have
        ("sm_80", 32, 163 * 1024 + 1, 8, 0),
        ("gfx942", 64, 0, 4, 32),  # eight waves on each of four SIMDs
        ("gfx942", 256, 0, 4, 8),
        ("gfx942", 128, 40960, 4, 4),
    ],
)
def test_resident_warps(target, registers, shared, warps, resident):
    assert GPUS[target].occupancy({"registers": registers, "shared": shared, "warps": warps}) == resident


@pytest.mark.parametrize(("capability", "name"), [((8, 0), "sm_80"), ((9, 0), "sm_90"), ((10, 0), "sm_100")])
def test_class_of_a_capability(capability, name):
    assert of_capability(capability) is GPUS[name]
    assert GPUS[name].capability == capability


@pytest.mark.parametrize("capability", [(0, 0), (8, 9), (9, 1), (12, 0)])
def test_unknown_capability_has_neither_tma_nor_pdl(capability):
    assert of_capability(capability) is GENERIC
    assert not GENERIC.has_tma
    assert not GENERIC.has_pdl


@pytest.fixture
def found(tmp_path):
    """What consumers find where a copy of the package has one GPU class more, and perhaps launch configs for it."""

    def found(tuned):
        package = tmp_path / "braidcheck"
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "nano", "nano_golden"))
        edits = {"arch.py": (ROWS, ROW)} | ({"kernels/common/tuned_configs.py": (TUNED, ENTRY)} if tuned else {})
        for file, (old, new) in edits.items():
            text = (package / file).read_text()
            assert text.count(old) == 1
            (package / file).write_text(text.replace(old, new))
        env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        env |= {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1", "TRITON_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run([sys.executable, "-c", FOUND_BY], env=env, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return found


@pytest.mark.parametrize(("tuned", "launches_as", "block_m"), [(False, "generic", 1), (True, "sm_86", 8)])
def test_one_row_adds_a_class_which_takes_safe_configs_until_it_is_tuned(found, tuned, launches_as, block_m):
    assert found(tuned) == {
        "launches as": launches_as,
        "config": block_m,
        "launched": block_m,
        "class": "sm_86",
        "subjects": ["cache_write[sm_86]", "cache_write[sm_86 baseline]"],
        "compiled": True,
    }
