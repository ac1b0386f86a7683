"""Which items one worker takes."""

import pytest

from braidcheck.plugin import unit_of


@pytest.mark.parametrize(
    ("lane", "gate", "unit"),
    [
        ("gpu", "engine", "engine"),  # its subjects compile the same kernels, which takes longer than they do
        ("interpret", "engine", "engine/tiny: head"),
        ("gpu", "accuracy", "accuracy/tiny: head"),
        ("gpu", "timing", "timing"),
        ("gpu", "tests", "tests/tiny: head"),
    ],
)
def test_the_unit_of_an_item(lane, gate, unit):
    assert unit_of(lane, gate, "tiny: head") == unit
