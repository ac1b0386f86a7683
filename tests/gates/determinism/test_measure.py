"""Determinism evidence: an op that gives other bits, or looks at its neighbours, is seen."""

from dataclasses import replace

import pytest

from braidcheck import kernels
from braidcheck.gates.determinism.measure import measure_determinism

OPS = kernels.find()
NORM, CACHE = OPS["rms_norm"], OPS["cache_write"]


def called(op, function):
    """``op`` with another wrapper, on its small cases without optional arguments."""
    return replace(op, call=function, cases=tuple(case for case in op.cases if not case.needs and not case.large))


@pytest.mark.parametrize("op", [NORM, CACHE], ids=lambda op: op.name)
def test_the_kernels_give_the_same_bits(op):
    rows = measure_determinism(op, repeats=2)
    assert len(rows) == 3
    assert all(row["differing"] == row["alone_differing"] == 0 and row["alone"] for row in rows)


def test_another_bit_in_one_run_is_seen():
    runs = []

    def restless(x, weight, eps, residual=None, out=None):
        runs.append(1)
        y = NORM.reference(x, weight, eps)
        y.view(-1)[0] *= 1 + 2**-23 * (len(runs) == 3)
        return y

    first = measure_determinism(called(NORM, restless), repeats=5)[0]
    assert (first["repeats"], first["differing"]) == (5, 1)


def test_a_row_that_depends_on_its_neighbours_is_seen():
    def together(x, weight, eps, residual=None, out=None):
        return NORM.reference(x, weight, eps) * (1 + 2**-20 * len(x))

    rows = measure_determinism(called(NORM, together), repeats=2)
    assert all(row["differing"] == 0 and row["alone_differing"] == row["alone"] > 1 for row in rows)


def test_a_token_that_depends_on_its_neighbours_is_seen():
    def together(k, v, k_cache, v_cache, rows, slots):
        CACHE.reference(k * len(k), v, k_cache, v_cache, rows, slots)

    rows = measure_determinism(called(CACHE, together), repeats=2)
    assert any(row["alone_differing"] for row in rows)


def test_a_token_that_is_not_written_alone_is_seen():
    def lazy(k, v, k_cache, v_cache, rows, slots):
        if len(k) > 1:
            CACHE.reference(k, v, k_cache, v_cache, rows, slots)

    assert any(row["alone_differing"] for row in measure_determinism(called(CACHE, lazy), repeats=2))


def test_rows_run_alone_only_if_batch_invariant():
    promised = replace(NORM, contract=replace(NORM.contract, batch_invariant=False))
    assert all(row["alone"] == 0 for row in measure_determinism(promised, repeats=2))
