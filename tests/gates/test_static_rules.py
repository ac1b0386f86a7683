"""The rules of the static gate: how a configuration is compared with the baseline's."""

from braidcheck.gates.static_rules import mean_width


def test_the_mean_width_is_over_instructions():
    assert mean_width({"128": 1, "32": 3}) == 56
    assert mean_width({}) == 0
