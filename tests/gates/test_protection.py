"""The gate of threshold protection from plain Runs."""

import pytest

from braidcheck.gates.protection import evaluate, requires_approval
from braidcheck.result import Run, Status, Verdict

EDITED = {"braidcheck/numerics/error.py": "how errors are measured"}
CASE = "accuracy op[a]"


def a_run(missing=(), **statuses):
    """A Run of the accuracy gate on cases of ``op``, by status or by the part of the limit used; read from JSON."""
    verdicts = []
    for case, said in statuses.items():
        value, status = (said, Status.PASS) if isinstance(said, float) else (None, Status(said.replace("_", " ")))
        verdicts.append(
            Verdict("accuracy", f"op[{case}]", status, f"is {said}", value=value, limit=1.0, lane="interpret")
        )
    expected = [verdict.id for verdict in verdicts] + [f"interpret/accuracy/op[{case}]" for case in missing]
    return Run.from_json(Run({}, tuple(expected), tuple(verdicts)).to_json())


def evaluated(base, own=None, edited=EDITED, **given):
    verdicts = evaluate(base, own, edited if own else {}, **given)
    return {v.subject: v for v in verdicts if v.subject not in ("the base's oracles", "edited oracles")}, verdicts


def waiver(subject=CASE, expires="2030-01-31"):
    return {"subject": subject, "reason": "a better bound", "expires": expires}


@pytest.mark.parametrize("base", ["fail", "error", "inconclusive", "skipped"])
def test_pass_by_change_only_requires_approval(base):
    found, _ = evaluated(a_run(a=base, b="pass"), a_run(a="pass", b="pass"))
    assert list(found) == [CASE]
    assert requires_approval(found[CASE])
    assert f"only the change's oracles let it pass; the base's say {base.replace('_', ' ')}" in found[CASE].message


def test_no_verdict_of_the_base_is_not_green():
    assert requires_approval(evaluated(a_run(missing="a"), a_run(a="pass"))[0][CASE])
    assert evaluated(a_run(missing="a"))[0][CASE].status == Status.ERROR


@pytest.mark.parametrize("own", [None, "fail", "error"])
def test_waiver_does_not_cover_failure_of_both_sides(own):
    run = own and a_run(a=own)
    found, _ = evaluated(a_run(a="fail"), run, waivers=[waiver()], today="2030-01-01")
    assert found[CASE].status == Status.FAIL
    assert not requires_approval(found[CASE])
    assert found[f"waiver of {CASE}"].status == Status.FAIL


def test_correct_change_passes():
    for own in (None, a_run(a=0.2)):
        found, verdicts = evaluated(a_run(a=0.2), own)
        assert not found
        assert {v.status for v in verdicts} == {Status.PASS}
        assert verdicts[0].message == "1 of 1 subjects pass with them"


def test_looser_limit_requires_approval_and_tighter_passes():
    assert not evaluated(a_run(a=0.2), a_run(a=0.4))[0]
    found, _ = evaluated(a_run(a=0.2), a_run(a=0.02))
    assert requires_approval(found[CASE])
    assert "uses 0.02 of the change's limit, 0.2 of the base's" in found[CASE].message
    assert requires_approval(evaluated(a_run(a=0.2), a_run(a=0.0))[0][CASE])
    assert not evaluated(a_run(a=0.0), a_run(a=0.0))[0]


def test_a_limit_too_tight_for_the_kernel_fails():
    found, _ = evaluated(a_run(a="pass"), a_run(a="fail"))
    assert (found[CASE].status, requires_approval(found[CASE])) == (Status.FAIL, False)


@pytest.mark.parametrize("base", ["pass", "fail", "skipped"])
def test_removed_case_requires_approval(base):
    found, _ = evaluated(a_run(a=base, b="pass"), a_run(b="pass"))
    assert requires_approval(found[CASE])
    assert "the change removed it" in found[CASE].message


@pytest.mark.parametrize("status", ["pass", "fail"])
def test_new_subject_is_evaluated_by_change(status):
    found, _ = evaluated(a_run(a="pass"), a_run(a="pass", b=status))
    assert found["accuracy op[b]"].status == status
    assert "new, evaluated by the change only" in found["accuracy op[b]"].message


def test_new_subjects_are_told_in_order():
    found, _ = evaluated(a_run(a="pass"), a_run(a="pass", **dict.fromkeys("hcfgbdei", "pass")))
    assert list(found) == [f"accuracy op[{case}]" for case in "bcdefghi"]


def test_a_subject_without_a_verdict_keeps_its_slashes():
    base = Run({}, ("interpret/accuracy/op[a/b/c]",), ())
    assert "accuracy op[a/b/c]" in evaluated(base, a_run(a="pass"))[0]


def test_gates_that_the_base_did_not_run_are_left_alone():
    own = Run({}, (), (*a_run(a="pass").verdicts, Verdict("static", "op[sm_90]", Status.FAIL, "spills")))
    assert not evaluated(a_run(a="pass"), own)[0]


def test_added_exception_requires_approval():
    verdicts = evaluate(a_run(a="pass"), None, {}, excused={"equivalent mutant m": "zero is zero"})
    assert requires_approval(verdicts[-1])
    assert "equivalent mutant m" in verdicts[-1].subject


def test_skipped_stays_skipped():
    found, verdicts = evaluated(a_run(a="skipped", b="pass"), a_run(a="skipped", b="pass"))
    assert found[CASE].status == Status.SKIPPED
    assert Run({}, (), verdicts).exit_code == 0


@pytest.mark.parametrize(
    ("base", "today", "status", "of_waiver"),
    [
        ("fail", "2030-01-31", "pass", None),
        ("fail", "2030-02-01", "fail", "expired on 2030-01-31: a better bound"),
        ("pass", "2030-01-01", None, "no longer needed, remove it: a better bound"),
    ],
)
def test_the_life_of_a_waiver(base, today, status, of_waiver):
    found, verdicts = evaluated(a_run(a=base), a_run(a="pass"), waivers=[waiver()], today=today)
    assert (found[CASE].status if status else None) == status
    assert (found[f"waiver of {CASE}"].message if of_waiver else None) == of_waiver
    assert Run({}, (), verdicts).exit_code == bool(of_waiver)
    if not of_waiver:
        assert "waived until 2030-01-31: a better bound" in found[CASE].message


def test_large_case_missing_without_gpu():
    def left_out(*cases):
        metrics = {"subjects": [f"op[{case}]" for case in cases]}
        said = Verdict("accuracy", "op[large]", Status.SKIPPED, "large cases need a GPU", metrics=metrics)
        return Run({}, (said.id,), (said,))

    found, _ = evaluated(left_out("a", "b"), left_out("b", "c"))
    assert [subject for subject in found if requires_approval(found[subject])] == [CASE]
    assert found["accuracy op[large]"].status == Status.SKIPPED


def test_a_waiver_covers_its_subject_alone():
    found, _ = evaluated(a_run(a="fail", b="fail"), a_run(a="pass", b="pass"), waivers=[waiver()], today="2030-01-01")
    assert found[CASE].status == Status.PASS
    assert requires_approval(found["accuracy op[b]"])


def test_edited_oracles_are_listed_with_reason():
    _, verdicts = evaluated(a_run(a="pass"), a_run(a="pass"))
    assert verdicts[1].message == "the change edits braidcheck/numerics/error.py (how errors are measured)"


def test_a_limit_that_the_base_uses_up_is_not_made_looser():
    found, _ = evaluated(a_run(a=1.0), a_run(a=0.5))
    assert "the change's oracles are looser" in found[CASE].message


def test_a_removed_subject_that_stands_for_several_is_one():
    cases = {"subjects": ["op[x]", "op[y]"]}
    large = Verdict("accuracy", "op[large]", Status.SKIPPED, "needs a GPU", lane="interpret", metrics=cases)
    found, _ = evaluated(Run({}, (large.id,), (large,)), a_run(a="pass"))
    assert sorted(found) == ["accuracy op[a]", "accuracy op[large]"]


def test_what_the_change_configures_requires_approval_until_it_is_waived():
    said = {"gates": "the change has ['accuracy'], the base not set"}
    found, _ = evaluated(a_run(a="pass"), configured=said)
    assert requires_approval(found["configuration gates"])
    assert said["gates"] in found["configuration gates"].message
    found, _ = evaluated(a_run(a="pass"), configured=said, waivers=[waiver("configuration gates")], today="2029-01-01")
    assert found["configuration gates"].status == Status.PASS
