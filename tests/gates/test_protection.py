"""The gate of threshold protection from plain Runs."""

import json

import pytest

from braidcheck.gates.protection import evaluate, needs_human
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
    return Run.from_json(json.dumps(json.loads(Run({}, tuple(expected), tuple(verdicts)).to_json())))


def judged(base, own=None, edited=EDITED, **given):
    verdicts = evaluate(base, own, edited if own else {}, **given)
    return {v.subject: v for v in verdicts if v.subject not in ("the base's judges", "edited judges")}, verdicts


def waiver(subject=CASE, expires="2030-01-31"):
    return {"subject": subject, "reason": "a better bound", "expires": expires}


@pytest.mark.parametrize("base", ["fail", "error", "inconclusive", "not_judged"])
def test_what_only_the_change_lets_pass_needs_a_human(base):
    found, _ = judged(a_run(a=base, b="pass"), a_run(a="pass", b="pass"))
    assert list(found) == [CASE]
    assert needs_human(found[CASE])
    assert f"only the change's judges let it pass; the base's say {base.replace('_', ' ')}" in found[CASE].sentence


def test_no_verdict_of_the_base_is_not_green():
    assert needs_human(judged(a_run(missing="a"), a_run(a="pass"))[0][CASE])
    assert judged(a_run(missing="a"))[0][CASE].status == Status.ERROR


@pytest.mark.parametrize("own", [None, "fail", "error"])
def test_what_nobody_lets_pass_is_a_failure_and_no_waiver_covers_it(own):
    run = own and a_run(a=own)
    found, _ = judged(a_run(a="fail"), run, waivers=[waiver()], today="2030-01-01")
    assert found[CASE].status == Status.FAIL
    assert not needs_human(found[CASE])
    assert found[f"waiver of {CASE}"].status == Status.FAIL


def test_an_honest_change_passes():
    for own in (None, a_run(a=0.2)):
        found, verdicts = judged(a_run(a=0.2), own)
        assert not found
        assert {v.status for v in verdicts} == {Status.PASS}
        assert verdicts[0].sentence == "1 of 1 subjects pass with them"


def test_a_tighter_limit_passes_and_a_looser_one_needs_a_human():
    assert not judged(a_run(a=0.2), a_run(a=0.4))[0]
    found, _ = judged(a_run(a=0.2), a_run(a=0.02))
    assert needs_human(found[CASE])
    assert "uses 0.02 of the change's limit, 0.2 of the base's" in found[CASE].sentence
    assert needs_human(judged(a_run(a=0.2), a_run(a=0.0))[0][CASE])
    assert not judged(a_run(a=0.0), a_run(a=0.0))[0]


def test_a_limit_too_tight_for_the_kernel_fails():
    found, _ = judged(a_run(a="pass"), a_run(a="fail"))
    assert (found[CASE].status, needs_human(found[CASE])) == (Status.FAIL, False)


@pytest.mark.parametrize("base", ["pass", "fail", "not_judged"])
def test_what_is_removed_needs_a_human(base):
    found, _ = judged(a_run(a=base, b="pass"), a_run(b="pass"))
    assert needs_human(found[CASE])
    assert "the change removed it" in found[CASE].sentence


@pytest.mark.parametrize("status", ["pass", "fail"])
def test_what_is_new_is_said_and_judged_by_the_change(status):
    found, _ = judged(a_run(a="pass"), a_run(a="pass", b=status))
    assert found["accuracy op[b]"].status == status
    assert "new, judged by the change only" in found["accuracy op[b]"].sentence


def test_gates_that_the_base_did_not_run_are_left_alone():
    own = Run({}, (), (*a_run(a="pass").verdicts, Verdict("static", "op[sm_90]", Status.FAIL, "spills")))
    assert not judged(a_run(a="pass"), own)[0]


def test_an_exception_that_is_added_needs_a_human():
    verdicts = evaluate(a_run(a="pass"), None, {}, excused={"equivalent mutant m": "zero is zero"})
    assert needs_human(verdicts[-1])
    assert "equivalent mutant m" in verdicts[-1].subject


def test_what_is_not_judged_stays_so():
    found, verdicts = judged(a_run(a="not_judged", b="pass"), a_run(a="not_judged", b="pass"))
    assert found[CASE].status == Status.NOT_JUDGED
    assert Run({}, (), verdicts).exit_code == 0


@pytest.mark.parametrize(
    ("base", "today", "status", "of_waiver"),
    [
        ("fail", "2030-01-31", "pass", None),
        ("fail", "2030-02-01", "fail", "expired on 2030-01-31: a better bound"),
        ("pass", "2030-01-01", None, "no longer needed, take it out: a better bound"),
    ],
)
def test_the_life_of_a_waiver(base, today, status, of_waiver):
    found, verdicts = judged(a_run(a=base), a_run(a="pass"), waivers=[waiver()], today=today)
    assert (found[CASE].status if status else None) == status
    assert (found[f"waiver of {CASE}"].sentence if of_waiver else None) == of_waiver
    assert Run({}, (), verdicts).exit_code == bool(of_waiver)
    if not of_waiver:
        assert "waived until 2030-01-31: a better bound" in found[CASE].sentence


def test_a_large_case_is_missed_where_it_cannot_be_judged():
    def left_out(*cases):
        numbers = {"subjects": [f"op[{case}]" for case in cases]}
        said = Verdict("accuracy", "op[large]", Status.NOT_JUDGED, "large cases need a GPU", numbers=numbers)
        return Run({}, (said.id,), (said,))

    found, _ = judged(left_out("a", "b"), left_out("b", "c"))
    assert [subject for subject in found if needs_human(found[subject])] == [CASE]
    assert found["accuracy op[large]"].status == Status.NOT_JUDGED


def test_a_waiver_covers_its_subject_alone():
    found, _ = judged(a_run(a="fail", b="fail"), a_run(a="pass", b="pass"), waivers=[waiver()], today="2030-01-01")
    assert found[CASE].status == Status.PASS
    assert needs_human(found["accuracy op[b]"])


def test_edited_judges_are_listed_with_their_reason():
    _, verdicts = judged(a_run(a="pass"), a_run(a="pass"))
    assert verdicts[1].sentence == "the change edits braidcheck/numerics/error.py (how errors are measured)"
