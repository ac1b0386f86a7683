"""The whole flow of a paired session, with workers whose clock is a file."""

import pytest

from braidcheck.ci.paired import process
from braidcheck.ci.paired.session import Session
from braidcheck.gates import paired
from braidcheck.result import Status


def verdicts(found):
    judged = paired.judge({"series": found, "against": "0123456789abcdef"}, names=tuple(found))
    return {verdict.subject.split("[")[0]: verdict for verdict in judged}


def test_same_is_green_slower_is_red_faster_is_green(observe):
    plain = {"same": {}, "slow": {}, "fast": {}}
    found = observe(plain, plain | {"slow": {"seconds": 1.03e-5}, "fast": {"seconds": 0.9e-5}})
    said = verdicts(found)
    assert {op: v.status for op, v in said.items()} == {"same": "pass", "slow": "fail", "fast": "pass"}
    assert 1.02 < said["slow"].value < 1.04
    assert said["slow"].numbers["restarts"] == len(found["slow[shape]"]["restarts"]) == paired.LOOKS[0]
    assert "against 0123456789ab" in said["slow"].sentence


MISHAPS = [(when, what) for when in ("prepare", "place", "turn") for what in ("raise", "die")] + [("turn", "hang")]


@pytest.mark.parametrize(("when", "what"), MISHAPS)
@pytest.mark.parametrize("who", ["base", "change"])
def test_a_mishap_is_its_series_own_and_never_green(observe, monkeypatch, when, what, who):
    if what == "hang":
        monkeypatch.setitem(process.LIMITS, when, 3.0)
    broken, plain = {"bad": {when: what}, "good": {}}, {"bad": {}, "good": {}}
    one = observe(*((broken, plain) if who == "base" else (plain, broken)))
    said = verdicts(one)
    assert said["good"].status == Status.PASS
    assert said["bad"].status == (Status.ERROR if who == "change" else Status.NOT_JUDGED)
    expected = {"raise": "no such luck", "die": "died", "hang": "took longer than 3 s"}[what]
    assert expected in said["bad"].sentence
    assert "and more" not in said["bad"].sentence


def test_what_only_one_side_has_is_not_judged_or_red(observe):
    said = verdicts(observe({"old": {}, "both": {}}, {"new": {}, "both": {}}))
    assert said["new"].status == Status.NOT_JUDGED
    assert "there is no op new" in said["new"].sentence
    assert said["old"].status == Status.ERROR
    assert said["both"].status == Status.PASS


def test_other_inputs_are_not_compared(observe):
    said = verdicts(observe({"op": {}}, {"op": {"inputs": "other"}}))
    assert said["op"].status == Status.NOT_JUDGED
    assert "different inputs: x" in said["op"].sentence


def test_time_that_is_up_is_inconclusive(observe):
    said = verdicts(observe({"op": {}}, {"op": {}}, seconds=0.0))
    assert said["op"].status == Status.INCONCLUSIVE
    assert "0 of 10 restarts" in said["op"].sentence


def test_noise_asks_for_more_restarts(observe):
    noisy = {"op": {"layout": 0.1}, "calm": {}}
    found = observe(noisy, noisy)
    assert len(found["calm[shape]"]["restarts"]) == paired.LOOKS[0] < len(found["op[shape]"]["restarts"])
    assert verdicts(found)["op"].status == Status.INCONCLUSIVE


def test_a_session_goes_on_with_the_workers_it_has_and_ends_them(side):
    series = [{"name": "op[shape]", "op": "op", "axes": {}}]
    with Session(side("base", op={}), side("change", op={})) as session:
        seen = []
        for _ in range(2):
            found = session.observe(series, 60.0, lambda one: len(one["restarts"]) < 2)
            assert len(found["op[shape]"]["restarts"]) == 2
            seen.append([session.sides[name].child.pid for name in ("base", "change")])
    assert seen[0] == seen[1]
    assert [process.child for process in session.sides.values()] == [None, None]
