"""What is wrong in a Run: grouped, the worst first, and who is blamed."""

import pytest

from braidcheck.report.failures import blame, failures, suspects
from braidcheck.result import Run, Status


def test_an_op_is_one_failure_and_its_worst_case_speaks_for_it(broken):
    op, checks = failures(broken)
    assert (op.names, op.count, op.reading, op.headroom) == (
        "qkv_rope[b]",
        "2 of 3",
        "9 (limit <= 1) error ratio",
        "none, 9 x the limit",
    )
    assert checks.names == "nano: kl, nano: nll"
    assert suspects([op, checks]) == {"qkv_rope": ["accuracy"]}


def test_nothing_is_worse_than_what_has_no_number(accuracy_verdict, verdict):
    run = Run(
        {},
        (),
        (
            accuracy_verdict("a", "1", 2.0, Status.FAIL),
            accuracy_verdict("b", "1", float("nan"), Status.FAIL),
            accuracy_verdict("c", "1", 7.0, Status.FAIL),
            verdict("coherence", "nano: kl", Status.ERROR, value=9.0, limit=1.0),
            verdict("coherence", "nano: flips", Status.FAIL, value=3, limit=0),
            verdict("paired", "d", Status.INCONCLUSIVE),
        ),
    )
    assert [one.names for one in failures(run)] == ["b[1]", "c[1]", "nano: flips", "a[1]", "nano: kl", "d"]


def test_fail_and_error_of_one_op_are_two_things(accuracy_verdict):
    run = Run({}, (), (accuracy_verdict("a", "1", 2.0, Status.FAIL), accuracy_verdict("a", "2", 9.0, Status.ERROR)))
    assert [one.first.status for one in failures(run)] == ["fail", "error"]


def test_many_names_are_cut(verdict):
    made = tuple(verdict("coherence", f"nano: {n}", Status.ERROR, "it broke") for n in range(9))
    (one,) = failures(Run({}, (), made))
    assert one.names == "nano: 0, nano: 1, nano: 2, nano: 3 and 5 more"


@pytest.mark.parametrize(
    ("gate", "subject", "metrics", "says"),
    [
        ("accuracy", "rms_norm[bfloat16-x]", {}, "rms_norm"),
        ("paired", "rms_norm", {}, "rms_norm"),
        ("fence", "rms_norm", {}, "rms_norm"),
        ("engine", "tiny", {}, ""),
        (
            "coherence",
            "nano: kl",
            {"blame": {"ops": ["qkv_rope", "lm_head"], "layers": [2, 4]}},
            "qkv_rope + lm_head, layers 2 to 4",
        ),
        ("coherence", "nano: kl", {"blame": {"ops": ["qkv_rope"], "layers": [2, 2]}}, "qkv_rope, layer 2"),
        ("coherence", "nano: kl", {"blame": {"ops": [], "layers": []}}, ""),
        ("timing", "rms_norm T1 H1024", {}, "rms_norm"),
        ("coherence", "nano: kl", {"departs_first_at_layer": 0}, "layer 0"),
        ("coherence", "nano: kl", {"departs_first_at_layer": None}, ""),
        ("layers", "synthetic 0.6B: layer 27 decode", {}, "layer 27"),
        ("layers", "synthetic 0.6B: layer 3 decode", {"blame": ["lm_head"]}, "lm_head, layer 3"),
        ("coherence", "nano: recall", {}, ""),
    ],
)
def test_blame_of_verdict(verdict, gate, subject, metrics, says):
    assert str(blame(verdict(gate, subject, Status.FAIL, metrics=metrics))) == says


def test_the_op_that_most_blame_comes_first(accuracy_verdict, verdict):
    named = {"metrics": {"blame": {"ops": ["b"]}}}
    run = Run(
        {},
        (),
        (
            accuracy_verdict("a", "1", 99.0, Status.FAIL),
            accuracy_verdict("b", "1", 2.0, Status.FAIL),
            verdict("coherence", "nano: kl", Status.FAIL, "far", **named),
        ),
    )
    assert suspects(failures(run)) == {"b": ["coherence", "accuracy"], "a": ["accuracy"]}


def test_blame_may_name_layers_alone_and_a_failure_may_have_no_number(verdict):
    found = verdict("coherence", "nano: kl", Status.FAIL, metrics={"blame": {"layers": [3, 5]}})
    assert str(blame(found)) == "layers 3 to 5"
    (one,) = failures(Run({}, (), (found,)))
    assert (one.reading, one.count) == ("", "")
