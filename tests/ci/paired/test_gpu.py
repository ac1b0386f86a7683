"""On a GPU: two real trees take turns, in processes of their own."""

import math

import pytest

from braidcheck.ci.paired.process import Process
from braidcheck.ci.paired.session import ROUNDS, SIDES, Session
from braidcheck.ci.paired.slower import slow_tree
from braidcheck.ci.paired.worktrees import REPOSITORY, prepare_worktree
from braidcheck.gates import paired
from braidcheck.result import Status
from tools.calibration.calibrate import slow_worker

pytestmark = pytest.mark.gpu

SERIES = {"name": "rms_norm[1 token]", "op": "rms_norm", "axes": {"T": 1, "H": 1024}}
MANY = {"name": "gate_up_silu[512 tokens]", "op": "gate_up_silu", "axes": {"T": 512, "H": 1024, "I": 3072, "norm": 1}}


def test_process_pair_times_every_round_of_both_sides(tmp_path):
    sides = [Process(side, prepare_worktree(REPOSITORY, tmp_path / side)) for side in SIDES]
    with Session(*sides) as session:
        found = session.measure([SERIES], 300.0, lambda one: not one["restarts"])
    one = found[SERIES["name"]]
    assert one["trouble"] is None
    (restart,) = one["restarts"]
    for side in SIDES:
        assert len(restart[side]) == ROUNDS
        assert all(0 < seconds < math.inf for seconds in restart[side])
    (verdict,) = paired.evaluate({"series": found}, names=(SERIES["name"],))
    assert verdict.status == Status.INCONCLUSIVE
    assert "1 of 10 process pairs" in verdict.message


def test_a_kernel_that_does_not_compile_is_the_changes_own_fault(tmp_path):
    base, change = (prepare_worktree(REPOSITORY, tmp_path / side) for side in SIDES)
    file = change / "braidcheck" / "kernels" / "rms_norm" / "kernel.py"
    text = file.read_text(encoding="utf-8")
    assert "tl.program_id" in text
    file.write_text(text.replace("tl.program_id", "tl.no_such_thing"), encoding="utf-8")
    with Session(Process("base", base), Process("change", change)) as session:
        found = session.measure([SERIES], 300.0)
    (verdict,) = paired.evaluate({"series": found}, names=(SERIES["name"],))
    assert verdict.status == Status.ERROR
    assert "(change, " in verdict.message


REQUEST = "decode, batch 1, context 128"
ENGINE = {"name": f"engine[{REQUEST}]", "op": "engine", "request": REQUEST}
FAULTS = {
    "kernels and copies": (
        "models/model.py",
        "        return h\n\n    def logits",
        "        return h.clone()\n\n    def logits",
    ),
    "synchronisations": (
        "models/decode.py",
        "            index += steps",
        "            index += steps + 0 * int(out[0, 0])",
    ),
    "launches by the host": ("models/model.py", 'self.device.type == "cuda"  #', "False  #"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_the_engine_asks_of_the_host_is_counted(tmp_path, name):
    """Of equal tokens: a kernel more a step, a synchronisation more a graph, a step launched kernel by kernel."""
    file, old, new = FAULTS[name]
    base, change = (prepare_worktree(REPOSITORY, tmp_path / side) for side in SIDES)
    source = change / "braidcheck" / file
    text = source.read_text(encoding="utf-8")
    assert text.count(old) == 1
    source.write_text(text.replace(old, new), encoding="utf-8")
    with Session(Process("base", base), Process("change", change)) as session:
        found = session.measure([ENGINE], 300.0, lambda one: not one["restarts"])
    assert found[ENGINE["name"]]["trouble"] is None
    (verdict,) = paired.evaluate({"series": found}, names=(ENGINE["name"],))
    assert verdict.status == Status.FAIL
    assert name in verdict.message


@pytest.mark.exclusive_gpu
def test_slowdown_is_injected_into_launched_kernel(tmp_path):
    """Also where a shape launches another kernel than the file's first: 20,000 multiply-adds take 40 us or more."""
    tree = prepare_worktree(REPOSITORY, tmp_path / "plain")
    slow = Process("change", slow_tree(tree, tmp_path / "slower"), slow_worker)
    asked = [series | {"turns": 20_000} for series in (SERIES, MANY)]
    with Session(Process("base", tree), slow) as session:
        found = session.measure(asked, 300.0, lambda one: not one["restarts"])
    assert set(found) == {series["name"] for series in asked}
    for one in found.values():
        assert one["trouble"] is None
        (restart,) = one["restarts"]
        assert min(restart["change"]) > max(restart["base"]) + 4e-5
