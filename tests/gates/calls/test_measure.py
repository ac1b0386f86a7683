"""The calls gate: right functions go through, and each kind of fault that one call hides is seen by its check."""

import re
import warnings
from functools import partial

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates.calls import layouts, observe, state
from braidcheck.gates.calls.chosen import ROWS, chosen_cases, rows_axis, smallest_case
from braidcheck.gates.calls.observe import Held, ViolationError, observed, share_memory

NORM, CACHE, LINEAR = (kernels.find()[name] for name in ("rms_norm", "cache_write", "linear_residual"))
CASE = smallest_case(NORM, 3)


def norm(x, weight, eps, residual=None, out=None, out_dtype=torch.float32):
    return NORM.reference(x, weight, eps, residual, out, out_dtype)


def refused(text):
    return pytest.raises(ViolationError, match=re.escape(text))


def test_reference_passes_what_does_not_ask_it_to_refuse():
    for op in (NORM, LINEAR):
        for _, check in (*state.state_checks(op, op.reference, "cpu"), *layouts.layout_checks(op, op.reference, "cpu")):
            check()


def test_cases_have_every_dtype_and_option():
    for op in kernels.find().values():
        cases, whole = chosen_cases(op), [case for case in op.cases if not case.large and 0 not in case.axes.values()]
        assert {case.dtype for case in cases} == {case.dtype for case in whole}, op.name
        assert {name for case in cases for name in case.needs} == {name for case in whole for name in case.needs}


def test_input_that_changes_is_named():
    def spoils(x, weight, eps):
        y = norm(x, weight, eps)
        weight.mul_(2)
        return y

    with refused("the call changes weight"):
        observed(NORM, spoils, NORM.inputs(CASE, "cpu"))


def test_output_in_an_input_is_named():
    with refused("y shares memory with the input x"):
        observed(NORM, lambda x, weight, eps: x, NORM.inputs(CASE, "cpu"))


def test_output_whose_elements_are_one_is_named():
    with refused("elements of y share memory"):
        observed(NORM, lambda x, weight, eps: norm(x, weight, eps)[:1].expand_as(x), NORM.inputs(CASE, "cpu"))


def test_output_of_another_layout_is_named():
    def column_major(x, weight, eps):
        return norm(x, weight, eps).T.contiguous().T

    with refused("rows of y are not contiguous"):
        state.check_again(NORM, column_major, CASE, "cpu")


def test_parts_of_one_tensor_do_not_share_memory():
    whole = torch.zeros(3, 8)
    assert not share_memory(whole[:, :4], whole[:, 4:])
    assert share_memory(whole[:, :5], whole[:, 4:])
    assert observe.addresses(whole[1:, ::2]).tolist() == [
        whole.data_ptr() + 32 + 8 * n for n in (0, 1, 2, 3, 4, 5, 6, 7)
    ]


def test_result_that_changes_later_is_seen():
    held, result = Held(NORM), torch.zeros(2, 3)
    held.hold((result,))
    held.require_kept()
    result[0, 0] = 1
    with refused("y has other bits after later calls"):
        held.require_kept()


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (lambda x: (x.shape, x.dtype), "with other values of the same shape, y is wrong"),
        (lambda x: x.data_ptr(), "when its inputs hold other values where they lie"),
    ],
)
def test_answer_remembered_by_shape_or_address_is_seen(key, says):
    known = {}

    def remembers(x, weight, eps):
        _, y = known.setdefault(key(x), (x, norm(x, weight, eps)))
        return y.clone()

    with refused(says):
        state.check_again(NORM, remembers, CASE, "cpu")


def test_row_nobody_writes_is_seen_in_used_memory():
    def forgets(x, weight, eps):
        y = torch.empty(x.shape)
        y[:-1] = norm(x, weight, eps)[:-1]
        y[-1] = norm(x, weight, eps)[-1].where(y[-1].isnan(), y[-1])  # right in memory that is filled with NaN
        return y

    with refused("y is wrong"):
        state.check_again(NORM, forgets, CASE, "cpu")


def test_wrong_answer_of_a_later_call_is_seen():
    calls = []

    def tires(x, weight, eps):
        calls.append(1)
        return norm(x, weight, eps) * (1 + 2**-20 * (len(calls) == state.CALLS))

    with refused(f"at call {state.CALLS}"):
        state.check_many_times(NORM, tires, CASE, "cpu")


def test_size_remembered_from_another_call_is_seen():
    rows = []

    def of_the_first_size(x, weight, eps):
        rows.append(len(x))
        return torch.cat([norm(x[: rows[0]], weight, eps), x[rows[0] :].float()])

    with refused("among calls of other sizes, y is wrong"):
        state.check_among_others(NORM, of_the_first_size, [], "cpu")


@pytest.mark.parametrize("gap", [0, 1])
def test_layout_that_is_ignored_is_seen(gap):
    def packed(x, weight, eps):
        return norm(x.as_strided(x.shape, (x.shape[1], 1), 0 if not gap else x.storage_offset()), weight, eps)

    layout = layouts._with_gaps if gap else partial(layouts._moved, offset=8)
    with refused("y is wrong"):
        layouts.check_all(NORM, packed, CASE, "cpu", layout)


@pytest.mark.parametrize("op", kernels.find().values(), ids=lambda op: op.name)
def test_layouts_of_every_argument_are_asked_with_several_rows(op):
    """The stride of one row is read by nobody."""
    cases = layouts._layout_cases(op)
    given = [pair for case in cases for pair in layouts._tensors(op.inputs(case, "cpu"))]
    wide = {name for name, value in given if value.dim() > 1}
    assert {name for name, value in given if value.dim() > 1 and len(value) > 1} == wide
    # Kernels for one row do not read its stride; from ROWS[2] rows on others run.
    assert any(1 < case[rows_axis(case)] < ROWS[2] for case in cases)


def test_stride_of_another_argument_is_seen():
    def exchanges(x, weight, residual):
        return LINEAR.reference(x.as_strided(x.shape, weight.stride(), x.storage_offset()), weight, residual)

    with refused("out is wrong"):
        layouts.check_all(LINEAR, exchanges, smallest_case(LINEAR, 3), "cpu", layouts._with_gaps)


def test_refusal_names_the_argument():
    def refuses(text):
        def call(x, weight, eps):
            raise ValueError(text)

        return call

    layouts.check_each(NORM, refuses("x and weight must be contiguous"), CASE, "cpu", layouts._stepped)
    with refused("refused by a message that does not name"):
        layouts.check_each(NORM, refuses("must be contiguous"), CASE, "cpu", layouts._stepped)


def test_overlap_that_is_written_must_be_refused():
    case = smallest_case(CACHE, 3)
    with refused("overlap and the call accepts them"), warnings.catch_warnings(action="ignore"):
        layouts.check_overlaps(CACHE, CACHE.reference, case, "cpu")
