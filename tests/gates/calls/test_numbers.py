"""What knows a number by heart that all cases give alike is right on every case, and seen by another number."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates.calls import state
from braidcheck.gates.calls.chosen import chosen_cases, smallest_case
from braidcheck.gates.calls.numbers import with_other_numbers
from braidcheck.gates.calls.observe import ViolationError
from braidcheck.numerics.rope import rope_table

NORM, ROPE, DECODE = (kernels.find()[name] for name in ("rms_norm", "qk_norm_rope", "attention_decode"))


def of_a_width(x, weight, eps, residual=None, out=None, out_dtype=torch.float32):
    return NORM.reference(x, weight, 1e-6, residual, out, out_dtype)


def of_a_head(q, k_cache, v_cache, lengths, scale):
    return DECODE.reference(q, k_cache, v_cache, lengths, q.shape[2] ** -0.5)


def of_a_theta(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps, k_scale=1.0):
    table = rope_table(*cos_sin.shape)
    return ROPE.reference(q, k, q_norm_weight, k_norm_weight, table, positions, eps, k_scale)


def _asked(op, function):
    for case in chosen_cases(op):  # where there is one key its score's scale is no matter
        state.check_again(op, function, case, "cpu")


@pytest.mark.parametrize(("op", "function"), [(NORM, of_a_width), (DECODE, of_a_head), (ROPE, of_a_theta)])
def test_number_known_by_heart_is_seen(op, function):
    with pytest.raises(ViolationError, match="with other values of the same shape"):
        _asked(op, function)


def test_number_of_the_first_call_is_seen():
    known = []

    def remembers(x, weight, eps):
        known.append(eps)
        return NORM.reference(x, weight, known[0], out_dtype=torch.float32)

    with pytest.raises(ViolationError, match="with other values of the same shape"):
        state.check_again(NORM, remembers, smallest_case(NORM, 3), "cpu")


def test_function_made_for_one_number_may_say_so():
    def strict(x, weight, eps):
        if eps != 1e-6:
            raise ValueError("eps must be 1e-6")
        return of_a_width(x, weight, eps)

    state.check_again(NORM, strict, smallest_case(NORM, 3), "cpu")


def test_every_number_and_every_table_is_another_one():
    for op in (NORM, ROPE, DECODE):
        case = smallest_case(op, 3)
        inputs = op.inputs(case, "cpu")
        others = with_other_numbers(inputs, op.inputs(case, "cpu"))
        assert all(others[name] != value for name, value in inputs.items() if isinstance(value, float)), op.name
    table = ROPE.inputs(smallest_case(ROPE, 3), "cpu")["cos_sin"]
    assert not torch.equal(with_other_numbers({"cos_sin": table}, {"cos_sin": table})["cos_sin"], table)
