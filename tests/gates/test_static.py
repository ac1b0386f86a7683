"""The static gate from plain rows: each rule by itself fails, and says both numbers."""

import math

import pytest

from braidcheck.gates import static
from braidcheck.result import Status
from braidcheck.settings import Settings
from braidcheck.static import measure

ROW = {
    "op": "demo", "target": "sm_90", "kernel": "_demo", "configuration": "T64", "bytes": 1, "flops": 1,
    "shared_limit": 232448, "shared": 8192, "warps": 4, "stages": 3, "registers": 80, "spills": 0, "occupancy": 16,
    "instructions": 1000, "matrix": {"wgmma": 8}, "loads": {"128": 36, "16": 1}, "stores": {"128": 2},
}  # fmt: skip


def evaluated(now=None, before=None, rows=None, baseline=None):
    """The verdicts on sm_90: by itself, and next to the baseline."""
    evidence = {"triton": "3.7.1", "rows": rows or [ROW | (now or {})]}
    baseline = baseline if baseline is not None else [ROW | (before or {})]
    verdicts = {verdict.subject: verdict for verdict in static.evaluate(evidence, baseline, "demo", "interpret")}
    assert tuple(verdicts) == static.op_subjects("demo")
    return verdicts["demo[sm_90]"], verdicts["demo[sm_90 baseline]"]


def test_what_did_not_change_passes():
    alone, compared = evaluated()
    assert (alone.status, compared.status) == (Status.PASS, Status.PASS)
    assert alone.message == "1 configuration compiled, none spills; at most 8,192 of 232,448 bytes of shared memory"
    assert (compared.value, compared.limit) == (1.0, 1.1)


@pytest.mark.parametrize(
    ("now", "expected", "value", "limit"),
    [
        ({"spills": 8, "registers": 255}, "spills 8 bytes a thread, 0 in the baseline", 8, 0),
        ({"matrix": {"mma": 32}}, "lost wgmma: 32 mma, 8 wgmma in the baseline", 0, 8),
        ({"matrix": {}}, "lost wgmma: no matrix instruction, 8 wgmma in the baseline", 0, 8),
        ({"loads": {"32": 145}}, "narrower loads: 32 bits an instruction, 125 in the baseline", 32, 112),
        ({"stores": {"64": 4}}, "narrower stores: 64 bits an instruction, 128 in the baseline", 64, 115),
        (
            {"occupancy": 12, "registers": 130},
            "fewer resident warps: 12 on a multiprocessor, 16 in the baseline (registers 130, were 80; "
            "shared 8,192 bytes, were 8,192)",
            12,
            16,
        ),
        (
            {"instructions": 1101},
            "1,101 instructions, 1,000 in the baseline: +10%, 10% more are allowed",
            1.1,
            1.1,
        ),
    ],
)
def test_each_rule_fails_by_itself_with_both_numbers(now, expected, value, limit):
    _, compared = evaluated(now)
    assert compared.status == Status.FAIL
    assert compared.message == f"_demo of T64 for sm_90 {expected}"
    assert compared.value == pytest.approx(value, rel=0.01)
    assert compared.limit == pytest.approx(limit, rel=0.01)
    assert compared.limit_fraction is None or compared.limit_fraction > 1  # of a limit of 0 no part can be used


@pytest.mark.parametrize(
    "now",
    [
        {"instructions": 1100},
        {"matrix": {"wgmma": 1, "mma": 3}},
        {"loads": {"128": 36, "16": 4}},
        {"occupancy": 32},
        {"registers": 90},
    ],
)
def test_what_is_allowed_passes(now):
    assert evaluated(now)[1].status == Status.PASS


def test_what_got_better_passes():
    _, compared = evaluated(
        before={"spills": 40, "occupancy": 4, "instructions": 3000, "matrix": {}, "loads": {"16": 9}}
    )
    assert compared.status == Status.PASS
    assert compared.value == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({"spills": 8}, "spills 8 bytes a thread at 80 registers, none are allowed"),
        ({"shared": 232449}, "takes 232,449 bytes of shared memory, the chip has 232,448"),
        ({"error": "CompilationError: at 3:4"}, "does not compile: CompilationError: at 3:4"),
    ],
)
def test_what_no_baseline_can_excuse(now, expected):
    alone, _ = evaluated(now, before=now)
    assert alone.status == Status.FAIL
    assert alone.message == f"_demo of T64 for sm_90 {expected}"


def test_a_spill_with_a_reason_passes_and_the_reason_is_said():
    key = ("demo", "sm_90", "_demo", "T64")
    evidence = {"triton": "3.7.1", "rows": [ROW | {"spills": 8}]}
    alone = static.evaluate(evidence, None, "demo", excused={key: "the older compiler"})[2]
    assert alone.status == Status.PASS
    assert "1 may spill (the older compiler);" in alone.message
    assert static.evaluate(evidence, None, "demo", excused={(*key[:3], "T65"): "another's"})[2].status == Status.FAIL


def test_without_baseline_only_comparison_is_skipped():
    evidence = {"triton": "3.9.0", "rows": [ROW]}
    alone, compared = static.evaluate(evidence, None, "demo")[2:4]
    assert (alone.status, compared.status) == (Status.PASS, Status.SKIPPED)
    assert compared.message == (
        "no baseline of Triton 3.9.0 for any configuration; create it with: braidcheck static --accept"
    )


def test_configuration_missing_from_baseline_is_skipped_unless_another_is_worse():
    new = ROW | {"configuration": "T128"}
    _, compared = evaluated(rows=[ROW, new])
    assert compared.status == Status.SKIPPED
    assert "for 1 configuration; create it with" in compared.message
    _, compared = evaluated(rows=[ROW | {"spills": 4}, new])
    assert compared.status == Status.FAIL


def test_what_does_not_compile_is_no_comparison():
    assert evaluated({"error": "died"})[1].status == Status.SKIPPED


def test_several_configurations_are_counted_and_all_are_said():
    worse = [ROW | {"configuration": name, "spills": 4, "occupancy": 8} for name in ("T64", "T65", "T66")]
    baseline = [ROW | {"configuration": row["configuration"]} for row in worse]
    _, compared = evaluated(rows=worse, baseline=baseline)
    assert compared.message.startswith("_demo of T64 for sm_90 spills 4 bytes a thread, 0 in the baseline; fewer")
    assert compared.message.endswith("(and 2 more configurations)")
    assert len(compared.metrics["_demo of T66"]) == 2


def test_configuration_not_compiled_is_skipped_unless_another_is_worse():
    before = [ROW, ROW | {"configuration": "T128"}, ROW | {"kernel": "_other"}]
    alone, compared = evaluated(baseline=before)
    assert (alone.status, compared.status) == (Status.PASS, Status.SKIPPED)
    assert compared.message == (
        "_demo of T128 and 1 more, in the baseline of Triton 3.7.1, was not compiled; "
        "if that is intended: braidcheck static --accept"
    )
    assert evaluated({"spills": 4}, baseline=before)[1].status == Status.FAIL
    others = [ROW | {"op": "another"}, ROW | {"target": "sm_80", "configuration": "T128"}]
    assert evaluated(baseline=[ROW, *others])[1].status == Status.PASS, "another op's or target's"


READ = ("shared", "shared_limit", "spills", "registers", "occupancy", "instructions", "matrix", "loads", "stores")


@pytest.mark.parametrize("name", READ)
def test_what_was_not_read_is_never_green(name):
    """Each number of a configuration, and of the baseline, disabled in turn, in every way: no silent pass."""
    inner = {"128": None}, {"128": math.nan}, {"128": -1}
    for value in (KeyError, None, math.nan, -1, "8", True, [], *inner, *([0] if name == "instructions" else [])):
        row = {key: of for key, of in ROW.items() if key != name} | ({} if value is KeyError else {name: value})
        assert {verdict.status for verdict in evaluated(rows=[row])} == {Status.ERROR}, value
        assert evaluated(rows=[row])[0].message.startswith("_demo of T64 for sm_90 was not read: ")
        alone, compared = evaluated(baseline=[row])
        assert alone.status == Status.PASS
        assert compared.status == (Status.PASS if name == "shared_limit" else Status.SKIPPED), value


def test_no_configuration_is_an_error():
    verdicts = static.evaluate({"triton": "3.7.1", "rows": []}, [ROW], "demo")
    assert {verdict.status for verdict in verdicts} == {Status.ERROR}


def test_the_configuration_that_takes_most_shared_memory_is_said():
    rows = [ROW | {"configuration": name, "shared": shared} for name, shared in (("T1", 8), ("T2", 4096), ("T3", 16))]
    assert evaluated(rows=rows)[0].value == 4096


def test_no_byte_may_spill_by_itself():
    verdict = evaluated(now={"spills": 4}, before={"spills": 4})[0]
    assert (verdict.status, verdict.value, verdict.limit) == (Status.FAIL, 4, 0)


@pytest.mark.parametrize(("op", "status"), [("a_strangers", Status.SKIPPED), ("rms_norm", Status.ERROR)])
def test_only_another_projects_op_needs_no_kernel(monkeypatch, op, status):
    monkeypatch.setattr(measure, "measure_static", lambda *_: {"triton": "0", "rows": []})
    found = list(static.run(Settings("interpret", "out"), static.op_subjects(op), print))
    assert [verdict.subject for verdict in found] == list(static.op_subjects(op))
    assert {verdict.status for verdict in found} == {status}
