"""The accuracy gate from plain data."""

import json

import pytest

from braidcheck.gates import accuracy
from braidcheck.result import Status

OUTPUT = {
    "name": "q", "share": 0.3, "relative": 1e-3, "nonfinite": 0, "index": [2, 0], "got": 1.5, "exact": 1.25,
    "allowed": 0.1, "stock_share": 0.4, "stock_relative": 2e-3,
}  # fmt: skip


def judged(outputs=(OUTPUT,), **changes):
    seen = {
        "op": "qkv_rope",
        "case": "qkv_rope[x]",
        "dtype": "bfloat16",
        "missing": [],
        "raised": None,
        "problems": [],
        "seconds": 0.5,
    }
    return accuracy.evaluate(json.loads(json.dumps(seen | {"outputs": list(outputs)} | changes)), lane="interpret")


def test_a_share_below_one_passes():
    verdict = judged()
    assert (verdict.status, verdict.value, verdict.limit) == (Status.PASS, 0.3, 1.0)
    assert verdict.id == "interpret/accuracy/qkv_rope[x]"


@pytest.mark.parametrize("share", [1.01, float("inf"), float("nan")])
def test_the_worst_output_decides(share):
    verdict = judged([OUTPUT, OUTPUT | {"name": "k", "share": share}, OUTPUT])
    assert verdict.status == Status.FAIL
    assert "k[2, 0] is 1.5, exactly 1.25" in verdict.sentence


def test_one_is_still_within_the_bound():
    assert judged([OUTPUT | {"share": 1.0}]).status == Status.PASS


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"raised": "ValueError: x must be [T,H]"}, Status.FAIL, "qkv_rope raised ValueError"),
        ({"problems": ["q has shape [1], must have [2]"]}, Status.FAIL, "must have"),
        ({"missing": ["qkv_bias", "eps"]}, Status.NOT_JUDGED, "takes no qkv_bias and no eps"),
        ({"outputs": []}, Status.ERROR, "no output"),
    ],
)
def test_what_gave_no_numbers_never_passes(changes, status, said):
    verdict = judged(**changes)
    assert verdict.status == status
    assert said in verdict.sentence


def test_nan_and_trespass_are_said_in_words():
    assert "17 elements of q are NaN" in judged([OUTPUT | {"share": float("inf"), "nonfinite": 17}]).sentence
    trespass = OUTPUT | {"share": float("inf"), "exact": float("nan")}
    assert "where nothing may be written" in judged([trespass]).sentence


def test_two_numbers_that_differ_are_written_so_that_they_do():
    close = OUTPUT | {"share": 1.1, "got": -1.0548712, "exact": -1.0548739}
    assert "is -1.0548712, exactly -1.0548739" in judged([close]).sentence


@pytest.mark.parametrize(("dtype", "limit"), [("bfloat16", 8), ("float16", 8), ("float32", 16)])
def test_an_output_within_its_bound_may_still_be_off_as_a_whole(dtype, limit):
    near, far = (OUTPUT | {"name": "k", "relative": factor * limit * 2e-3} for factor in (0.99, 1.01))
    assert judged([OUTPUT, near], dtype=dtype).status == Status.PASS
    verdict = judged([OUTPUT, far], dtype=dtype)
    assert verdict.status == Status.FAIL
    assert f"k as a whole is off by {limit * 2.02e-3:.2g} of its norm" in verdict.sentence


def test_stock_pytorch_may_be_exact_by_luck():
    lucky = OUTPUT | {"stock_relative": 0.0}
    assert judged([lucky | {"relative": 8 * 2**-24}]).status == Status.PASS
    assert judged([lucky | {"relative": 9 * 2**-24}]).status == Status.FAIL
    assert judged([OUTPUT, lucky | {"relative": float("nan")}]).status == Status.FAIL
