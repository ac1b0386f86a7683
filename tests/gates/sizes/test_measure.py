"""Sweeps of ops: a fault from some size on is seen, and a row that looks at its neighbours' number or length."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates.sizes.measure import measure_sweep
from braidcheck.gates.sizes.walk import DISTINCT

OPS = kernels.find()
NORM, DECODE, PREFILL, LINEAR = (
    OPS[name] for name in ("rms_norm", "attention_decode", "attention_prefill", "linear_residual")
)
SWEEPS = [(op, sweep) for op in OPS.values() for sweep in op.sweeps]


def violation(op, function, axis, number=0):
    sweep = [sweep for sweep in op.sweeps if axis in sweep.axes][number]
    return measure_sweep(op, function, sweep, "cpu")["violation"]


@pytest.mark.parametrize(("op", "sweep"), SWEEPS, ids=lambda part: part.name)
def test_rows_are_told_from_all_other_sizes(op, sweep):
    """An argument that holds a part of each row is one that has as many more as there are more rows."""
    if sweep.rows:
        few, more = (op.inputs(sweep.at(count), "cpu") for count in (DISTINCT, DISTINCT + 1))
        for name, value in few.items():
            if isinstance(value, torch.Tensor):
                assert (len(value) == DISTINCT) == (len(more[name]) == DISTINCT + 1), name


def test_every_op_is_walked_along_its_rows():
    assert [name for name, op in OPS.items() if not {"T", "B"} & {axis for s in op.sweeps for axis in s.axes}] == []


@pytest.mark.parametrize(("op", "axis"), [(NORM, "H"), (DECODE, "D"), (LINEAR, "H")], ids=["norm", "decode", "linear"])
def test_the_kernels_are_right(op, axis):
    assert violation(op, op.call, axis) is None


def test_the_switches_of_the_launches_are_looked_at():
    seen = measure_sweep(LINEAR, LINEAR.call, LINEAR.sweeps[1], "cpu")
    assert seen["switches"]
    assert set(seen["switches"]) <= set(seen["sizes"])


def test_other_bits_from_a_number_of_rows_on_are_seen():
    def norm(x, weight, eps, residual=None, out=None, out_dtype=torch.float32):
        y, total = NORM.call(x, weight, eps, residual)
        return (y * (1 + 2**-23) if len(x) > 1000 else y), total

    assert "at T 1023: y[" in violation(NORM, norm, "T")


def test_a_row_that_is_not_written_is_seen():
    def linear(x, weight, residual):
        out = LINEAR.call(x, weight, residual)
        out[200:] = torch.nan
        return out

    assert violation(LINEAR, linear, "T", 1).startswith("at T 257: out[200, 0] is nan")


def test_a_row_that_depends_on_a_neighbours_length_is_seen():
    def decode(q, k_cache, v_cache, lengths, scale):
        out = DECODE.call(q, k_cache, v_cache, lengths, scale)
        return (out.float() * (1 + 2**-7)).to(out.dtype) if lengths.max() > 300 else out

    assert violation(DECODE, decode, "S")


def test_a_row_that_depends_on_what_its_neighbours_hold_is_seen():
    def linear(x, weight, residual):
        out = LINEAR.call(x, weight, residual)
        return out.nextafter(torch.zeros_like(out)) if len(x) > 1 and torch.equal(x[0], x[1]) else out

    assert "with other neighbours" in (violation(LINEAR, linear, "T") or "")


def test_a_chunk_at_a_block_border_is_seen():
    def prefill(q, k, v, scale, q_start=0, cu_seqlens=None):
        ahead = q_start > 0 and q_start % 64 == 0
        return PREFILL.reference(q, k, v, scale, q_start + ahead if len(k) > q_start + len(q) else q_start, cu_seqlens)

    assert violation(PREFILL, prefill, "start", 2).startswith("at start 64: out[")


def test_an_exception_is_a_violation():
    def norm(x, weight, eps, residual=None, out=None, out_dtype=torch.float32):
        if len(x) > 64:
            raise ValueError("too many rows")
        return NORM.call(x, weight, eps, residual)

    assert violation(NORM, norm, "T") == "at T 65: ValueError: too many rows"
