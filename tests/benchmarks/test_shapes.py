"""The shapes that are timed."""

from dataclasses import replace

import pytest
import torch

from braidcheck import kernels
from braidcheck.benchmarks import shapes
from braidcheck.benchmarks.replay import MAX_COPIES, MIN_COPIES, copies

SERIES = shapes.series(kernels.find())


def test_every_op_has_series_of_its_own():
    assert {one.op for one in SERIES} == kernels.find().keys()
    assert len({one.name for one in SERIES}) == len(SERIES)


@pytest.mark.parametrize(
    "one", [one for one in SERIES if "16 " in one.name and one.op != "lm_head"], ids=lambda s: s.name
)
def test_a_batch_moves_what_its_cost_says(one):
    op = kernels.find()[one.op]
    inputs = shapes.arguments(op, one.case)
    if "k_cache" in inputs and one.op != "cache_write":
        lengths = inputs["lengths"] if "lengths" in inputs else inputs["positions"] + 1
        filled = int(lengths.sum()) * one.case["Hkv"] * one.case["D"] * 2 * 2
        assert 0.9 < filled / op.cost(one.case).bytes <= 1 or one.op == "fused_attention"
        assert not any(inputs[name].isnan().any() for name in ("k_cache", "v_cache"))


@pytest.mark.parametrize("op", kernels.find().values(), ids=kernels.find())
def test_every_op_declares_benchmark_shapes(op):
    assert op.benchmark_shapes
    assert all(name and axes for name, axes in op.benchmark_shapes.items())


def test_an_op_without_shapes_is_timed_on_its_large_cases():
    made = shapes.series({"rms_norm": replace(kernels.find()["rms_norm"], benchmark_shapes={})})
    assert made
    assert all(one.case.large and one.case.dtype == "bfloat16" for one in made)


@pytest.mark.parametrize("touched", [1, 10**4, 10**6, 8 * 10**6, 10**9])
def test_copies_exceed_the_cache_or_are_as_many_as_may_be(touched):
    cache = 60 * 2**20
    count = copies({"x": torch.empty(8)}, touched, cache)
    assert MIN_COPIES <= count <= MAX_COPIES
    assert count * touched > 2 * cache or count == MAX_COPIES


def test_copies_fit_into_memory():
    assert copies({"x": torch.empty(10**10, dtype=torch.uint8, device="meta")}, 1, 60 * 2**20) == MIN_COPIES
