"""The fence: honest calls go through unchanged, a read or a write outside shows."""

import ctypes

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates.fence.measure import OutOfBoundsError, RedZones, far_apart, red_zones, with_red_zones
from braidcheck.gates.sizes.launches import instead_of_running
from braidcheck.mutants.sandbox import in_child


def scaled(x, out):
    result = torch.empty(x.shape[0])
    result.copy_(x.sum(1))
    out.copy_(x)
    return result


def test_red_zones_do_not_disturb_correct_call():
    x, out = torch.randn(3, 5), torch.zeros(3, 5)
    assert torch.equal(with_red_zones(scaled)(x, out=out), x.sum(1))
    assert torch.equal(out, x)


def test_rows_lie_apart_and_far_apart():
    seen = []
    with_red_zones(lambda x, y: seen.append((x.stride(), y.stride())))(torch.zeros(2, 8), torch.zeros(2, 8))
    far_apart(lambda x: seen.append((x.stride(), x.tolist())))(torch.tensor([[1.0], [2.0], [3.0]]))
    (one, other), (far, values) = seen
    assert one != other != (8, 1) != one
    assert 2 * far[0] > 2**31 > far[0]
    assert values == [[1], [2], [3]]


def test_rows_of_every_kernel_lie_far_apart():
    op = kernels.find()["linear_residual"]
    found = set()
    for _, case, guard in red_zones(op, "cpu"):
        if guard is far_apart:
            with instead_of_running(-1) as launches:
                op.call(**op.inputs(case, "cpu"))
            found |= {launch.code[0].removeprefix("linear_residual_").removesuffix("_kernel") for launch in launches}
    assert found == {"gemv", "sliced_k", "tiled", "persistent", "split_k", "reduce"}


def test_a_write_between_rows_is_seen():
    def careless(x):
        x.as_strided((9,), (1,)).zero_()

    with pytest.raises(OutOfBoundsError):
        with_red_zones(careless)(torch.ones(2, 8))


def test_finite_number_between_rows_is_seen_where_nan_is_dropped():
    def largest(x):
        whole = x.as_strided((x.stride(0) + x.shape[1],), (1,))
        return whole.nan_to_num(-torch.inf).amax()

    x = torch.ones(2, 8)
    assert with_red_zones(largest)(x) == 1
    assert with_red_zones(largest, finite=True)(x) == 2.0**100


@pytest.mark.parametrize("make", [torch.zeros, torch.ones(2).new_empty])
def test_what_a_wrapper_makes_is_fenced_too(make):
    def careless(_say):
        with RedZones():
            made = make(8, dtype=torch.float32)
        ctypes.string_at(made.data_ptr() + 4 * 8, 4)
        return {"outcome": "survived"}

    assert in_child(careless, 20.0)["said"] == "the process died of SIGSEGV"


@pytest.mark.parametrize("place", [8, 4096, -4096])
def test_a_read_outside_ends_the_process(place):
    def careless(_say):
        red_zones = RedZones()
        inside = red_zones.around(torch.zeros(8), 0.0)
        ctypes.string_at(inside.data_ptr() + 4 * place, 4)
        return {"outcome": "survived"}

    assert in_child(careless, 20.0)["said"] == "the process died of SIGSEGV"
