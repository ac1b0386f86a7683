"""The static gate in mutation testing, from what a compiler would say of a mutant."""

from pathlib import Path

import pytest

import braidcheck
from braidcheck.gates import static_trials
from braidcheck.gates.gate import Fixtures, Trial

ROW = {
    "op": "rms_norm", "target": "sm_90", "kernel": "_rms_norm", "configuration": "M1", "bytes": 1, "flops": 1,
    "shared_limit": 232448, "shared": 0, "warps": 4, "stages": 3, "registers": 40, "spills": 0, "occupancy": 16,
    "instructions": 1000, "matrix": {}, "loads": {"128": 36}, "stores": {"128": 2},
}  # fmt: skip


def violation(monkeypatch, **said):
    asked = []

    def measure(ops, **how):
        asked.append((ops, how))
        return {"triton": "0.0.0", "rows": [{**ROW, "target": target, **said} for target in ("sm_90", "sm_80")]}

    monkeypatch.setattr("braidcheck.static.measure.measure_static", measure)
    ((subject, check),) = static_trials.trial_checks(Trial({"rms_norm": None}, "cpu", {}, Fixtures()))
    found = check()
    assert (subject, asked) == (
        "rms_norm",
        [(("rms_norm",), {"tree": Path(braidcheck.__file__).parents[1], "children": 1})],
    )
    return found


def test_a_kernel_that_compiles_as_before_is_let_through(monkeypatch):
    """Not all targets were read here: no verdict, which is no violation."""
    assert violation(monkeypatch) is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [({"spills": 8}, "spills 8 bytes a thread"), ({"error": "at 3:4"}, "does not compile: at 3:4")],
)
def test_what_the_static_gate_fails_is_a_violation(said, expected, monkeypatch):
    assert expected in violation(monkeypatch, **said)
