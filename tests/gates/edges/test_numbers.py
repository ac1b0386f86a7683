"""Another eps and far indices are asked of each kernel that the dispatch can choose."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates.edges import numbers

OPS = kernels.find()


def eps_at_least(x, weight, norm_weight=None, eps=1e-6):
    return OPS["gate_up_silu"].call(x, weight, norm_weight, max(eps, 1e-6))


def eps_at_most_where_one(x, weight, norm_weight=None, eps=1e-6):
    return OPS["gate_up_silu"].call(x, weight, norm_weight, min(eps, 1e-5) if len(x) == 1 else eps)


def positions_narrowed_where_many(*args, positions, **kwargs):
    if len(positions) >= 65:
        positions = positions.int().long()
    return OPS["qkv_rope"].call(*args, positions=positions, **kwargs)


def test_the_wrapper_is_right():
    assert numbers.violation(OPS["gate_up_silu"], OPS["gate_up_silu"].call, "cpu") is None


@pytest.mark.parametrize(
    ("function", "said"), [(eps_at_least, "eps of 1.42e-20"), (eps_at_most_where_one, "eps of 6.4e-05")]
)
def test_a_limited_eps_is_seen(function, said):
    assert said in numbers.violation(OPS["gate_up_silu"], function, "cpu")


def test_a_narrowed_position_is_seen_in_the_kernel_for_many_tokens():
    found = numbers.violation(OPS["qkv_rope"], positions_narrowed_where_many, "cpu")
    assert f"positions {numbers.FAR_INDEX} in the last row" in found


def test_some_rows_have_a_mean_square_below_eps():
    (inputs, *_) = numbers.calls_of_each_kernel(OPS["rms_norm"], OPS["rms_norm"].call, "cpu", numbers.PROFILE)
    squares = inputs["x"].double().square().mean(1)
    assert squares.min() < inputs["eps"]
    assert torch.isfinite(squares).all()
