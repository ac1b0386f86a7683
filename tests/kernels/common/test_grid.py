"""The launch arithmetic is Triton's."""

import pytest
import triton

from braidcheck.kernels.common.grid import cdiv, next_power_of_2

SIZES = (1, 2, 3, 15, 16, 17, 1000, 1024, 1025, 151936, 2**31 + 1)


@pytest.mark.parametrize("a", [0, *SIZES])
def test_cdiv(a):
    assert [cdiv(a, b) for b in SIZES] == [triton.cdiv(a, b) for b in SIZES]


def test_next_power_of_2():
    assert [next_power_of_2(n) for n in SIZES] == [triton.next_power_of_2(n) for n in SIZES]
