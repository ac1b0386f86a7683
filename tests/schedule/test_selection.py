"""The order in which items start."""

from braidcheck.schedule.selection import longest_first

SECONDS = {
    "static": 50.0,
    "engine/tiny: sampling": 30.0,
    "accuracy/a[1]": 9.0,
    "accuracy/a[2]": 8.0,
    "accuracy/a[3]": 7.0,
    "accuracy/b[1]": 2.0,
    "accuracy/b[2]": 1.0,
    "fence/a": 20.0,
}


def test_long_units_start_first_and_cases_of_an_op_apart():
    assert longest_first(SECONDS) == [
        *("static", "engine/tiny: sampling", "fence/a", "accuracy/a[1]", "accuracy/b[1]"),
        *("accuracy/a[2]", "accuracy/b[2]", "accuracy/a[3]"),
    ]


def test_units_that_are_alike_start_in_the_order_given():
    assert longest_first({"accuracy/b": 1.0, "fence/a": 1.0, "accuracy/a": 1.0}) == [
        "accuracy/b",
        "fence/a",
        "accuracy/a",
    ]
