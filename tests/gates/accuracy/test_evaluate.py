"""The accuracy gate from plain data."""

import json
from types import SimpleNamespace

import pytest

from braidcheck.gates import accuracy
from braidcheck.result import Status

OUTPUT = {
    "name": "q", "error_ratio": 0.3, "relative": 1e-3, "nonfinite": 0, "bias": 0.2, "narrow": "",
    "index": [2, 0], "got": 1.5, "exact": 1.25,
    "allowed": 0.1, "baseline_error_ratio": 0.4, "baseline_relative": 2e-3,
}  # fmt: skip


def evaluated(outputs=(OUTPUT,), **changes):
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


def test_error_ratio_below_one_passes():
    verdict = evaluated()
    assert (verdict.status, verdict.value, verdict.limit) == (Status.PASS, 0.3, 1.0)
    assert verdict.id == "interpret/accuracy/qkv_rope[x]"


@pytest.mark.parametrize("error_ratio", [1.01, float("inf"), float("nan")])
def test_the_worst_output_decides(error_ratio):
    verdict = evaluated([OUTPUT, OUTPUT | {"name": "k", "error_ratio": error_ratio}, OUTPUT])
    assert verdict.status == Status.FAIL
    assert "k[2, 0] is 1.5, exactly 1.25" in verdict.message


@pytest.mark.parametrize(
    ("got", "poisoned", "says"),
    [
        (float("nan"), ["k_cache", "v_cache"], "; the part of k_cache and v_cache that a call may not read holds the"),
        (2.0**101, ["k_cache"], "; the part of k_cache that a call may not read holds the same poison"),
        (1.5, ["k_cache"], None),
        (float("nan"), [], None),
    ],
)
def test_poisoned_inputs_are_named_where_one_may_have_been_read(got, poisoned, says):
    message = evaluated([OUTPUT | {"error_ratio": 9.0, "got": got, "nonfinite": 1}], poisoned=poisoned).message
    assert (says in message) if says else ("poison" not in message)


def test_one_is_still_within_the_bound():
    assert evaluated([OUTPUT | {"error_ratio": 1.0}]).status == Status.PASS


@pytest.mark.parametrize(
    ("changes", "status", "expected"),
    [
        ({"raised": "ValueError: x must be [T,H]"}, Status.FAIL, "qkv_rope raised ValueError"),
        ({"problems": ["q has shape [1], must have [2]"]}, Status.FAIL, "must have"),
        ({"missing": ["qkv_bias", "eps"]}, Status.SKIPPED, "does not take qkv_bias or eps"),
        ({"outputs": []}, Status.ERROR, "no output"),
    ],
)
def test_what_gave_no_numbers_never_passes(changes, status, expected):
    verdict = evaluated(**changes)
    assert verdict.status == status
    assert expected in verdict.message


def test_nan_and_trespass_are_said_in_words():
    assert (
        "q: 17 non-finite elements"
        in evaluated([OUTPUT | {"error_ratio": float("inf"), "nonfinite": 17, "got": float("nan")}]).message
    )
    trespass = OUTPUT | {"error_ratio": float("inf"), "exact": float("nan")}
    assert "must be NaN: nothing may be written there" in evaluated([trespass]).message


def test_two_numbers_that_differ_are_written_so_that_they_do():
    close = OUTPUT | {"error_ratio": 1.1, "got": -1.0548712, "exact": -1.0548739}
    assert "is -1.0548712, exactly -1.0548739" in evaluated([close]).message


def test_numbers_that_differ_in_the_last_digit_are_written_with_seventeen():
    close = OUTPUT | {"error_ratio": 1.1, "got": 1.0000000000000002, "exact": 1.0}
    assert "is 1.0000000000000002, exactly 1;" in evaluated([close]).message


@pytest.mark.parametrize(
    ("changes", "said"),
    [({}, None), ({"missing": ["eps"]}, None), ({"raised": "E: x"}, "qkv_rope raised E: x"), ({"outputs": []}, "no o")],
)
def test_a_violation_is_a_failure_or_an_error(changes, said):
    seen = {"op": "qkv_rope", "case": "qkv_rope[x]", "dtype": "bfloat16", "missing": [], "raised": None}
    seen |= {"problems": [], "seconds": 0.5, "outputs": [OUTPUT]}
    found = accuracy.violation(seen | changes)
    assert found is None if said is None else said in found


@pytest.mark.parametrize(("dtype", "limit"), [("bfloat16", 8), ("float16", 8), ("float32", 16)])
def test_an_output_within_its_bound_may_still_be_off_as_a_whole(dtype, limit):
    near, far = (OUTPUT | {"name": "k", "relative": factor * limit * 2e-3} for factor in (0.99, 1.01))
    assert evaluated([OUTPUT, near], dtype=dtype).status == Status.PASS
    verdict = evaluated([OUTPUT, far], dtype=dtype)
    assert verdict.status == Status.FAIL
    assert f"k as a whole is off by {limit * 2.02e-3:.2g} of its norm" in verdict.message


def test_number_and_sentence_agree():
    """1.7 times what is permitted, last rounding and all, is 1,150 times the little that is permitted before it."""
    worst = OUTPUT | {"error_ratio": 1150, "got": 1.0, "exact": 1.0 + 0.0011 * 1.7, "allowed": 0.0011}
    message = evaluated([worst]).message
    assert (
        "an error of 0.0011 is permitted, this is 0.0019, 1.7 times that (error ratio 1.15e+03, without the" in message
    )


@pytest.mark.parametrize(
    ("exact", "got", "expected"),
    [
        (float("inf"), float("-inf"), "q[2, 0] is -inf, exactly inf"),
        (float("-inf"), 7.0, "q[2, 0] is 7, exactly -inf"),
        (5.0, float("inf"), "q: 3 non-finite elements"),
    ],
)
def test_messages_on_what_is_not_finite(exact, got, expected):
    worst = OUTPUT | {"error_ratio": float("inf"), "exact": exact, "got": got, "nonfinite": 3}
    assert expected in evaluated([worst]).message


def test_wrong_choice_is_said_without_a_bound():
    worst = OUTPUT | {"error_ratio": 3.0, "exact": 12.0, "got": 7.0, "allowed": 0.0}
    assert "q[2, 0] is 7, exactly 12, 3 times as far" in evaluated([worst]).message


def test_errors_to_one_side_fail():
    assert evaluated([OUTPUT | {"bias": 1.0}]).status == Status.PASS
    verdict = evaluated([OUTPUT, OUTPUT | {"name": "k", "bias": 1.5}])
    assert verdict.status == Status.FAIL
    assert "k is biased to one side, 1.5 times as far" in verdict.message
    assert evaluated([OUTPUT | {"bias": float("nan")}]).status == Status.FAIL


def test_output_made_wider_fails():
    verdict = evaluated([OUTPUT | {"narrow": "bfloat16"}])
    assert verdict.status == Status.FAIL
    assert "q holds bfloat16 numbers alone" in verdict.message


def test_baseline_may_be_exact():
    lucky = OUTPUT | {"baseline_relative": 0.0}
    assert evaluated([lucky | {"relative": 8 * 2**-24}]).status == Status.PASS
    assert evaluated([lucky | {"relative": 9 * 2**-24}]).status == Status.FAIL
    assert evaluated([OUTPUT, lucky | {"relative": float("nan")}]).status == Status.FAIL


def test_what_is_off_as_a_whole_is_named_in_the_numbers():
    far = OUTPUT | {"name": "k", "relative": 9 * 2e-3}
    assert evaluated([OUTPUT, far]).metrics["output"] == "k"
    assert evaluated([OUTPUT, far]).metrics["norm_ratio"] == pytest.approx(9)


@pytest.mark.parametrize("large", [True, False])
def test_only_large_cases_wait_for_memory(monkeypatch, large):
    case = SimpleNamespace(id="op[a]", large=large)
    monkeypatch.setattr("braidcheck.kernels.find", lambda: {"op": SimpleNamespace(cases=[case])})
    assert (accuracy.GATE.gpu_memory("op[a]") is not None) == large
    assert accuracy.GATE.gpu_memory("op[large]") is None


def test_what_has_no_error_ratio_has_no_limit():
    verdict = evaluated(raised="E: x")
    assert (verdict.value, verdict.limit) == (None, None)
    assert evaluated().limit == 1.0
