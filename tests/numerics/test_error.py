"""The error ratio, on numbers small enough to work out by hand."""

import math

import pytest
import torch

from braidcheck.numerics.error import Errors, distance, error_ratios, unravel_index

BF16 = 2.0**-8


def one(value, exact, tolerance, dtype=torch.float32):
    got = torch.tensor([value], dtype=dtype)
    return float(
        error_ratios(got, torch.tensor([exact], dtype=torch.float64), torch.tensor([tolerance], dtype=torch.float64))
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_correctly_rounded_number_uses_nothing(dtype):
    exact = torch.randn(2000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert error_ratios(exact.to(dtype), exact, torch.full_like(exact, 1e-12)).max() == 0


def test_error_ratio_is_excess_over_rounding_by_tolerance():
    # 1.5 away, of which rounding to bfloat16 explains 102.5 / 256; the rest is 2.
    assert one(102.5, 101.0, 2.0, torch.bfloat16) == pytest.approx((1.5 - 102.5 * BF16) / 2)
    assert one(2.0, 1.0, 4.0) == pytest.approx(0.25, rel=1e-6)


def test_the_rounding_of_a_negative_result_is_its_own():
    assert one(-102.5, -101.0, 2.0, torch.bfloat16) == pytest.approx((1.5 - 102.5 * BF16) / 2)


def test_underflow_to_zero_is_a_rounding():
    assert one(0.0, 2.0**-26, 0.0, torch.float16) == 0
    assert one(0.0, 2.0**-24, 0.0, torch.float16) == math.inf


TABLE = [  # got, for exact NaN, inf, -inf and 1
    (math.nan, [0, math.inf, math.inf, math.inf]),
    (math.inf, [math.inf, 0, math.inf, 1e29]),
    (-math.inf, [math.inf, math.inf, 0, 1e29]),
    (1.0, [math.inf, math.inf, math.inf, 0]),
    (3e38, [math.inf, math.inf, math.inf, 1e29]),
]


@pytest.mark.parametrize(("value", "expected"), TABLE)
def test_every_pair_with_what_is_not_finite(value, expected):
    """A number, an infinity of either sign and NaN, each for each: only the same passes, or where infinity is near."""
    for exact, least in zip((math.nan, math.inf, -math.inf, 1.0), expected, strict=True):
        found = one(value, exact, 1e9)
        assert found == least if least in (0, math.inf) else found > least


@pytest.mark.parametrize(
    ("dtype", "largest", "half_step"),
    [
        (torch.float16, 65504.0, 16.0),
        (torch.bfloat16, 255 * 2.0**120, 2.0**119),
        (torch.float32, 2.0**128 - 2.0**104, 2.0**103),
    ],
)
def test_a_correctly_rounded_overflow_is_right(dtype, largest, half_step):
    """The least number that rounds to infinity is half a step past the largest one."""
    least = largest + half_step
    for sign in (1, -1):
        assert one(sign * math.inf, sign * least, 0.0, dtype) == 0
        assert one(sign * math.inf, sign * least * (1 - 2**-40), 0.0, dtype) == math.inf
        assert one(-sign * math.inf, sign * least, 0.0, dtype) == math.inf
        assert one(sign * math.inf, sign * (least - 0.5 * half_step), half_step, dtype) == 0.5  # within the tolerance
        assert one(sign * largest, sign * least, 0.0, dtype) == 0  # one step of rounding away
        assert one(sign * largest, sign * 2 * least, 0.0, dtype) == math.inf
        assert torch.tensor(sign * least, dtype=torch.float64).to(dtype).isinf()


def test_an_overflow_within_the_bound_spoils_no_norm():
    got, exact = torch.tensor([math.inf, 1.0], dtype=torch.float16), torch.tensor([7e4, 1.5], dtype=torch.float64)
    errors = distance(got, exact, torch.ones(2, dtype=torch.float64))
    assert (errors.error_ratio, errors.nonfinite) == (pytest.approx(0.5, abs=1e-2), 0)
    assert errors.relative == pytest.approx(1 / 3)


def test_a_tolerance_that_is_nan_lets_nothing_pass():
    assert one(1.0, 2.0, math.nan) == math.inf


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_float32_that_was_rounded_to_16_bits_is_named(narrow):
    exact = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    assert distance(exact.to(narrow).float(), exact, exact.abs()).narrow == str(narrow).removeprefix("torch.")
    assert distance(exact.float(), exact, exact.abs()).narrow == ""
    one_more = torch.cat([exact.to(narrow).float(), exact[:1].float()])
    assert not distance(one_more, torch.cat([exact, exact[:1]]), torch.ones(51, dtype=torch.float64)).narrow
    whole = torch.arange(50.0)  # 16 bits hold the answers themselves
    assert distance(whole, whole.double(), whole.double()).narrow == ""
    assert distance(exact.to(narrow), exact, exact.abs()).narrow == ""  # an output of 16 bits may be of 16 bits


@pytest.mark.parametrize(("value", "exact"), [(math.nan, math.inf), (math.nan, -math.inf), (-math.inf, math.inf)])
def test_not_finite_is_no_excuse_for_another_that_is_not_finite(value, exact):
    assert one(value, exact, 1e9) == math.inf


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinity_where_nothing_may_be_written_is_wrong(value):
    assert one(value, math.nan, 1e9) == math.inf


def test_a_result_below_the_exact_one_is_as_wrong_as_one_above():
    assert one(1.0, 2.0, 0.5) == pytest.approx(2, rel=1e-6)
    assert one(-2.0, -1.0, 0.5) == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize(
    ("choice", "ratio"), [(0, 0.0), (1, 0.5), (2, 3.0), (3, math.inf), (-1, math.inf), (99, math.inf)]
)
def test_a_choice_has_the_error_ratio_of_its_table_and_none_outside(choice, ratio):
    table = torch.tensor([[-1.0, 0.5, 3.0], [9.0, 9.0, 9.0]], dtype=torch.float64)
    got = torch.tensor([choice, 0], dtype=torch.int32).long()
    assert error_ratios(got, table[:, 0], table).tolist() == [ratio, 9.0]


def test_choices_have_no_relative_error():
    table = torch.tensor([[0.0, 3.0]], dtype=torch.float64)
    errors = distance(torch.tensor([1]), torch.zeros(1, dtype=torch.float64), table)
    assert (errors.error_ratio, errors.relative, errors.allowed, errors.got) == (3.0, 0.0, 0.0, 1.0)


def test_non_finite_elements_are_counted_where_a_number_belongs():
    nan = math.nan
    got, exact = torch.tensor([1.0, nan, math.inf, nan]), torch.tensor([1.0, 2.0, 3.0, nan], dtype=torch.float64)
    errors = distance(got, exact, torch.ones(4, dtype=torch.float64))
    assert errors.nonfinite == 2
    assert errors.error_ratio == math.inf
    assert distance(got[3:], exact[3:], torch.ones(1, dtype=torch.float64)).nonfinite == 0


@pytest.mark.parametrize(("exact", "relative"), [([0.5, 0.0], 0.5), ([0.0, 0.0], 0.25)])
def test_the_relative_error_of_zeros_is_the_error(exact, relative):
    exact = torch.tensor(exact, dtype=torch.float64)
    got = (exact + torch.tensor([0.0, 0.25])).float()
    errors = distance(got, exact, torch.ones(2, dtype=torch.float64))
    assert errors.relative == pytest.approx(relative)
    assert errors.largest == 0.25
    size = max(errors.got, errors.exact)
    assert errors.allowed == pytest.approx(1 + 2.0**-24 * size, rel=1e-12)


def test_what_nobody_may_write_must_stay_unwritten():
    assert one(math.nan, math.nan, 0.0) == 0
    assert one(0.0, math.nan, 0.0) == math.inf


def test_errors_name_the_worst_element():
    got = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    exact = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    errors = distance(got, exact, torch.full((2, 2), 0.5, dtype=torch.float64))
    assert errors.index == (1, 1)
    assert errors.error_ratio == pytest.approx(2, rel=1e-6)
    assert errors.relative == pytest.approx(1 / math.sqrt(30))
    assert errors.nonfinite == 0


def test_an_empty_output_has_no_error():
    errors = distance(torch.empty(0, 3), torch.empty(0, 3, dtype=torch.float64), torch.empty(0, 3))
    assert errors == Errors(0.0, 0.0, 0.0, 0, got=0.0, exact=0.0, allowed=0.0)


def test_an_output_of_no_elements_has_no_errors():
    empty = torch.empty(0)
    found = distance(empty, empty.double(), empty.double())
    assert (found.error_ratio, found.relative, found.largest, found.nonfinite, found.allowed) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 1, 4, 3)])
def test_the_indices_of_an_element_are_pytorchs(shape):
    numbers = torch.arange(math.prod(shape)).view(shape)
    assert all(int(numbers[unravel_index(number, shape)]) == number for number in range(math.prod(shape)))


def test_the_largest_error_is_that_of_numbers_where_others_are_none():
    got, exact = torch.tensor([1.0, torch.nan, 2.5]), torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)
    assert distance(got, exact, torch.ones(3, dtype=torch.float64)).largest == 0.5
