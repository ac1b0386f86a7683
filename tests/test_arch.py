"""GPU classes: occupancy next to what NVIDIA's and AMD's own tables give, and classes that nobody knows."""

import pytest

from braidcheck.arch import GENERIC, GPUS, of_capability


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
