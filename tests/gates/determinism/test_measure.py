"""Determinism evidence: an op that gives other bits is seen."""

from dataclasses import replace

import pytest

from braidcheck import kernels
from braidcheck.gates.determinism import measure
from braidcheck.gates.determinism.measure import measure_determinism
from braidcheck.gates.gate import Fixtures, Trial

OPS = kernels.find()
NORM, CACHE = OPS["rms_norm"], OPS["cache_write"]


def called(op, function):
    """``op`` with another wrapper, on its small cases without optional arguments."""
    return replace(op, call=function, cases=tuple(case for case in op.cases if not case.needs and not case.large))


@pytest.mark.parametrize("op", [NORM, CACHE], ids=lambda op: op.name)
def test_the_kernels_give_the_same_bits(op):
    rows = measure_determinism(op, repeats=2)
    assert len(rows) == 3
    assert all(row["differing"] == 0 for row in rows)


def test_another_bit_in_one_run_is_seen():
    runs = []

    def restless(x, weight, eps, residual=None, out=None):
        runs.append(1)
        y = NORM.reference(x, weight, eps)
        y.view(-1)[0] *= 1 + 2**-23 * (len(runs) == 3)
        return y

    first = measure_determinism(called(NORM, restless), repeats=5)[0]
    assert (first["repeats"], first["differing"]) == (5, 1)


def test_a_mutant_that_gives_other_bits_is_named_with_its_case(monkeypatch):
    runs = []

    def restless(op):
        def call(x, weight, eps, residual=None, out=None):
            runs.append(1)
            return x + len(runs)

        return call

    monkeypatch.setattr(measure, "wrapper", restless)
    trial = Trial({"rms_norm": called(NORM, NORM.call)}, "cpu", {}, Fixtures())
    found = [(subject, check()) for subject, check in measure.trial_checks(trial)]
    assert len(found) == 3
    assert all(f"2 of 3 runs of {subject} gave other bits" in said for subject, said in found)


def test_an_op_that_repeats_its_bits_is_let_through(monkeypatch):
    monkeypatch.setattr(measure, "wrapper", lambda op: lambda x, weight, eps, residual=None, out=None: x.clone())
    trial = Trial({"rms_norm": called(NORM, NORM.call)}, "cpu", {}, Fixtures())
    assert [check() for _, check in measure.trial_checks(trial)] == [None] * 3
