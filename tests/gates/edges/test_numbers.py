"""Far numbers and far indices are asked of each kernel that the dispatch can choose."""

import functools
import inspect

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
    ("function", "said"), [(eps_at_least, "eps of 5.05e-35"), (eps_at_most_where_one, "eps of 1.98e+22")]
)
def test_a_limited_eps_is_seen(function, said):
    assert said in numbers.violation(OPS["gate_up_silu"], function, "cpu")


def test_a_narrowed_position_is_seen_in_the_kernel_for_many_tokens():
    found = numbers.violation(OPS["qkv_rope"], positions_narrowed_where_many, "cpu")
    assert f"positions {numbers.FAR_INDEX} in the last row" in found


def test_some_rows_have_a_mean_square_below_eps():
    (inputs, *_) = numbers.calls(OPS["rms_norm"], OPS["rms_norm"].call, "cpu")
    squares = inputs["x"].double().square().mean(1)
    assert squares.min() < inputs["eps"]
    assert torch.isfinite(squares).all()


def limited(op, name, limit, below):
    """``op``'s wrapper, but its number ``name`` stays on one side of ``limit``."""

    @functools.wraps(op.call)
    def function(*args, **kwargs):
        given = inspect.signature(op.call).bind(*args, **kwargs)
        if isinstance(given.arguments.get(name), float):
            given.arguments[name] = (max if below else min)(given.arguments[name], limit)
        return op.call(*given.args, **given.kwargs)

    return function


# A top_p below the best token's probability keeps that token alone, however small it is.
UNASKED = "top_p"


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_each_number_is_asked_far_on_both_sides(op, monkeypatch):
    calls = list(numbers.calls(op, op.call, "cpu"))
    monkeypatch.setattr(numbers, "calls", lambda *args: calls)
    named = {name: given for given in calls for name, value in given.items() if isinstance(value, float)}
    for name, given in named.items():
        if name != UNASKED:
            below, above = numbers.far_exponents(op, op.call, given, name)
            assert below < -numbers.ROOM
            assert above > numbers.ROOM
            for exponent in (below, above):
                function = limited(op, name, given[name] * 2.0 ** (exponent // 2), exponent < 0)
                assert f"{name} of" in numbers.violation(op, function, "cpu")


def test_a_number_is_moved_no_further_than_the_call_accepts():
    op = OPS["sample"]
    inputs = op.inputs(op.cases[0], "cpu")

    def strict(logits, seeds, positions, temperature, top_k, top_p):
        if temperature > 2.0**40:
            raise ValueError("temperature is too high")
        return op.call(logits, seeds, positions, temperature, top_k, top_p)

    assert numbers.far_exponents(op, strict, inputs, "temperature") == [numbers.ROOM - 126, 40 - numbers.ROOM]
    assert numbers.far_exponents(op, op.call, inputs | {"top_p": 1.0}, "top_p") == [numbers.ROOM - 126]


def test_a_scale_moves_the_norm_of_the_queries_where_there_is_one():
    given = {"q": 1.0, "scale": 1.0, "softcap": 1.0}
    assert numbers._moved(given | {"q_norm_weight": 1.0}, "scale", -4) == {"q_norm_weight": 16.0, "scale": 2.0**-4}
    assert numbers._moved(given | {"q_norm_weight": None}, "scale", -4) == {"q": 16.0, "scale": 2.0**-4}
    assert numbers._moved(given, "softcap", 4) == {"softcap": 16.0}


def test_eps_moves_what_is_normalised_or_what_would_hide_it():
    given = {"x": 1.0, "residual": None, "qkv_bias": 1.0, "eps": 1.0}
    assert numbers._moved(given, "eps", -4) == {"x": 0.25, "qkv_bias": 0.25, "eps": 2.0**-4}
    assert numbers._moved(given, "eps", 4) == {"qkv_bias": 0.25, "eps": 16.0}
