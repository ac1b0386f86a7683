"""What ops are timed beside computes what they compute, on small relatives of the production shapes."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.benchmarks.ops import CUBLAS, _filled, baselines_for, checked, without_operand
from braidcheck.benchmarks.shapes import arguments
from braidcheck.op import Case

LARGEST = {"T": 7, "B": 7, "S": 40, "H": 64, "I": 96, "K": 96, "V": 300, "Hq": 4, "Hkv": 2, "D": 32, "P": 64}
OPS = kernels.find()
SHAPES = [(op, shape) for op in OPS if OPS[op].eager_baseline for shape in OPS[op].benchmark_shapes]


def small(op, shape):
    """The op and its arguments on a small relative of a production shape."""
    inputs = OPS[op].benchmark_shapes[shape]
    axes = {axis: min(size, LARGEST.get(axis, size)) for axis, size in inputs.items()}
    if inputs.get("S") == inputs.get("T"):  # a prompt that fills its row
        axes |= {"S": axes["T"]} if "T" in axes else {}
    return OPS[op], _filled(arguments(OPS[op], Case(op, axes)), "cpu")


@pytest.mark.parametrize(("name", "shape"), SHAPES, ids=[f"{op}[{shape}]" for op, shape in SHAPES])
def test_eager_is_the_op(name, shape):
    op, inputs = small(name, shape)
    assert checked(op, "eager", op.eager_baseline, inputs) == {}
    calls, inputs = baselines_for(op, inputs)
    assert list(calls)[:2] == ["eager", "torch.compile"]
    if CUBLAS in calls:
        assert checked(op, CUBLAS, calls[CUBLAS], inputs) == {}
        assert without_operand(lambda **rest: rest)(**inputs).keys() == inputs.keys() - {"operand"}
    if "FlashAttention" in calls:
        assert checked(op, "FlashAttention", calls["FlashAttention"], inputs) == {}


def test_only_what_draws_by_noise_of_its_own_has_no_eager_form():
    assert [name for name, op in OPS.items() if op.eager_baseline is None] == ["sample"]


def test_neither_backend_is_asked_for_rows_of_several_lengths():
    calls, _ = baselines_for(*small("attention_decode", "16 rows of 2048"))
    assert list(calls) == ["eager", "torch.compile"]


@pytest.mark.parametrize("fault", ["scale", "lengths"])
def test_another_answer_is_refused(fault):
    op, inputs = small("attention_decode", "1 row of 2048")
    wrong = inputs | {"scale": inputs["scale"] * 1.5, "lengths": inputs["lengths"] - 20}
    said = checked(op, "eager", lambda **rest: op.eager_baseline(**rest | {fault: wrong[fault]}), inputs)
    assert said["refused"].startswith("its answer differs by ")


def test_another_token_or_shape_is_refused_and_an_exception_is_said():
    op, inputs = small("lm_head", "16 tokens")
    assert "refused" in checked(op, "eager", lambda **rest: op.eager_baseline(**rest) ^ 1, inputs)
    assert checked(op, "eager", lambda **rest: torch.zeros(3), inputs) == {
        "refused": "its answer differs by inf of the norm from the reference's"
    }
    assert checked(op, "eager", lambda x: x, inputs)["skipped"].startswith("TypeError: ")
