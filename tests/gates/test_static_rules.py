"""The rules of the static gate: how a configuration is compared with the baseline's."""

from braidcheck.gates.static_rules import _matrix, mean_width


def test_the_mean_width_is_over_instructions():
    assert mean_width({"128": 1, "32": 3}) == 56
    assert mean_width({}) == 0


def test_lost_matrix_instructions_are_named_beside_those_that_are_left():
    old = {"matrix": {"wgmma": 4, "mma": 2}}
    for left, has in (({"mma": 2, "dp4a": 3}, "2 mma, 3 dp4a"), ({}, "no matrix instruction")):
        found = _matrix({"matrix": left}, old)
        lost = [kind for kind in old["matrix"] if kind not in left]
        had = ", ".join(f"{old['matrix'][kind]} {kind}" for kind in lost)
        assert found.message == f"lost wgmma: {has}, {had} in the baseline"
    assert _matrix({"matrix": {"wgmma": 1, "mma": 1}}, old) is None
