"""How much work is put in: on kernels of every shape, and with workers whose clock knows it."""

import math

import pytest

from braidcheck.ci.paired.session import Session
from braidcheck.gates.paired import log_ratios
from tools.calibration import slowdowns
from tools.calibration.slowdowns import FIRST_TRY, ROUNDS, near, next_try, search

SHAPES = {
    "in proportion": lambda amount: amount / 4000,
    "weak": lambda amount: amount / 4e5,
    "hidden behind memory": lambda amount: max(0, amount - 370) / 400,
    "hidden for long": lambda amount: max(0, amount - 20_000) / 1e5,
    "steep at first": lambda amount: 0.3 * (1 - math.exp(-amount / 50)),
    "strong": lambda amount: amount / 100,
    "faster at first": lambda amount: amount / 4000 - (0.004 if amount < 200 else 0),
}


@pytest.mark.parametrize("wanted", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_amount_is_found_whatever_the_shape(shape, wanted):
    tried = []

    def probe(tries):
        tried.append(tries)
        return {op: SHAPES[op](amount) for op, amount in tries.items()}

    found = search(wanted, {shape: {}}, probe, lambda: True)
    assert near(SHAPES[shape](found[shape]), wanted)
    assert len(tried) <= ROUNDS


def test_a_straight_line_alone_would_not_have_found_it():
    """As it was once done: one probe, and the rest in proportion."""
    for shape in ("hidden behind memory", "steep at first"):
        in_proportion = round(FIRST_TRY * 0.02 / SHAPES[shape](FIRST_TRY))
        assert not near(SHAPES[shape](in_proportion), 0.02)


def test_what_is_known_is_not_tried_again():
    points, tried = {"weak": {}, "strong": {}}, []

    def probe(tries):
        tried.extend(tries.items())
        return {op: SHAPES[op](amount) for op, amount in tries.items()}

    found = [search(wanted, points, probe, lambda: True) for wanted in (0.02, 0.02, 0.05)]
    assert found[0] == found[1]
    assert found[0].keys() == found[2].keys() == {"weak", "strong"}
    assert len(set(tried)) == len(tried)


def test_what_cannot_be_done_is_left_out():
    deaf = search(0.02, {"deaf": {}}, lambda tries: dict.fromkeys(tries, -0.001), lambda: True)
    jumps = search(0.02, {"jumps": {}}, lambda tries: {op: 0.1 * (n > 50) for op, n in tries.items()}, lambda: True)
    silent = search(0.02, {"silent": {}}, lambda tries: {}, lambda: True)
    late = search(0.02, {"late": {}}, lambda tries: dict.fromkeys(tries, 0.02), lambda: False)
    assert deaf == jumps == silent == late == {}


def test_search_terminates():
    assert next_try({slowdowns.MAX_MULTIPLY_ADDS: 0.0}, 0.02, False) is None
    assert next_try({7: 0.0, 8: 0.5}, 0.02, False) is None
    assert next_try({7: 0.0, 9: 0.5}, 0.02, True) == 8


def test_with_workers(side):
    """Two processes that take turns; the change's clock knows its work, each restart its layout."""
    made = []

    def probe(tries):
        made.append(tries)
        plain = {op: {} for op in tries}
        slower = {op: {"seconds": 1e-5 * math.exp(SHAPES[op](amount))} for op, amount in tries.items()}
        sides = [side(f"{which} {len(made)}", **plan) for which, plan in (("base", plain), ("change", slower))]
        series = [{"name": op, "op": op, "axes": {}} for op in tries]
        with Session(*sides) as session:
            found = session.measure(series, 60.0, lambda one: len(one["restarts"]) < 3)
        return {op: sum(log_ratios(found[op]["restarts"])) / 3 for op in tries}

    found = search(0.02, {"hidden behind memory": {}, "steep at first": {}, "weak": {}}, probe, lambda: True)
    assert found.keys() == {"hidden behind memory", "steep at first", "weak"}
    assert all(near(SHAPES[op](amount), 0.02) for op, amount in found.items())
