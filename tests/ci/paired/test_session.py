"""The whole flow of a paired session, with workers whose clock is a file."""

import pytest

from braidcheck.ci.paired import process
from braidcheck.ci.paired.session import Session
from braidcheck.gates import paired
from braidcheck.result import Status


def verdicts(found):
    evaluated = paired.evaluate({"series": found, "against": "0123456789abcdef"}, names=tuple(found))
    return {verdict.subject.split("[")[0]: verdict for verdict in evaluated}


def test_equal_and_faster_pass_and_slower_fails(measure):
    plain = {"same": {}, "slow": {}, "fast": {}}
    found = measure(plain, plain | {"slow": {"seconds": 1.03e-5}, "fast": {"seconds": 0.9e-5}})
    by_series = verdicts(found)
    assert {op: v.status for op, v in by_series.items()} == {"same": "pass", "slow": "fail", "fast": "pass"}
    assert 1.02 < by_series["slow"].value < 1.04
    assert by_series["slow"].metrics["restarts"] == len(found["slow[shape]"]["restarts"]) == paired.LOOKS[0]
    assert "against 0123456789ab" in by_series["slow"].message


def test_one_launch_more_fails_whatever_the_clock_says(measure):
    base, change = ({"more": {"counts": 65}, "same": {"counts": 65}} for _ in range(2))
    change["more"] = {"counts": 66, "seconds": 0.9e-5}
    by_series = verdicts(measure(base, change))
    assert by_series["more"].status == Status.FAIL
    assert by_series["more"].message.startswith("66 launches a request, the base's 65")
    assert by_series["same"].status == Status.PASS
    assert by_series["same"].metrics["counts"]["change"] == {"launches": 65}


MISHAPS = [(when, what) for when in ("prepare", "place", "turn") for what in ("raise", "die")] + [("turn", "hang")]


@pytest.mark.parametrize(("when", "what"), MISHAPS)
@pytest.mark.parametrize("who", ["base", "change"])
def test_a_mishap_is_its_series_own_and_never_green(measure, monkeypatch, when, what, who):
    if what == "hang":
        monkeypatch.setitem(process.LIMITS, when, 3.0)
    broken, plain = {"bad": {when: what}, "good": {}}, {"bad": {}, "good": {}}
    one = measure(*((broken, plain) if who == "base" else (plain, broken)))
    by_series = verdicts(one)
    assert by_series["good"].status == Status.PASS
    assert by_series["bad"].status == (Status.ERROR if who == "change" else Status.SKIPPED)
    expected = {"raise": "no such luck", "die": "died", "hang": "took longer than 3 s"}[what]
    assert expected in by_series["bad"].message
    assert "and more" not in by_series["bad"].message


def test_op_on_one_side_only_is_skipped_or_error(measure):
    by_series = verdicts(measure({"old": {}, "both": {}}, {"new": {}, "both": {}}))
    assert by_series["new"].status == Status.SKIPPED
    assert "there is no op new" in by_series["new"].message
    assert by_series["old"].status == Status.ERROR
    assert by_series["both"].status == Status.PASS


def test_other_inputs_are_not_compared(measure):
    by_series = verdicts(measure({"op": {}}, {"op": {"inputs": "other"}}))
    assert by_series["op"].status == Status.SKIPPED
    assert "different inputs: x" in by_series["op"].message


def test_time_that_is_up_is_inconclusive(measure):
    by_series = verdicts(measure({"op": {}}, {"op": {}}, seconds=0.0))
    assert by_series["op"].status == Status.INCONCLUSIVE
    assert "0 of 10 process pairs" in by_series["op"].message


def test_noise_asks_for_more_restarts(measure):
    noisy = {"op": {"layout": 0.1}, "calm": {}}
    found = measure(noisy, noisy)
    assert len(found["calm[shape]"]["restarts"]) == paired.LOOKS[0] < len(found["op[shape]"]["restarts"])
    assert verdicts(found)["op"].status == Status.INCONCLUSIVE


def test_a_session_goes_on_with_the_workers_it_has_and_ends_them(side):
    series = [{"name": "op[shape]", "op": "op", "axes": {}}]
    with Session(side("base", op={}), side("change", op={})) as session:
        seen = []
        for _ in range(2):
            found = session.measure(series, 60.0, lambda one: len(one["restarts"]) < 2)
            assert len(found["op[shape]"]["restarts"]) == 2
            seen.append([session.sides[name].child.pid for name in ("base", "change")])
    assert seen[0] == seen[1]
    assert [process.child for process in session.sides.values()] == [None, None]
