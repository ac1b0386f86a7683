"""``braidcheck static``: the table, the baseline rewritten on purpose, exit codes."""

import json

import pytest

from braidcheck.static import baseline, measure

ROW = {
    "op": "cache_write", "kernel": "_cache_write", "configuration": "T64", "bytes": 1024, "flops": 0,
    "shared_limit": 65536, "shared": 0, "warps": 4, "stages": 3, "registers": 26, "spills": 0, "occupancy": 64,
    "instructions": 96, "matrix": {"mfma": 2}, "loads": {"128": 2}, "stores": {"128": 2},
}  # fmt: skip


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """What compiling finds, to be changed by a test; baselines lie in a folder of the test's own."""
    monkeypatch.setattr(baseline, "FOLDER", tmp_path)
    rows = [ROW | {"target": target} for target in ("sm_80", "sm_90", "sm_100", "gfx942")]
    monkeypatch.setattr(measure, "measure_static", lambda ops, progress: {"triton": "9.9.9", "rows": rows})
    return rows


def test_the_table_says_what_a_kernel_takes(run, seen):
    completed = run("static")
    assert completed.code == 0
    assert "cache_write: _cache_write of T64, 1,024 bytes\n" in completed.out
    assert " ".join(next(line for line in completed.out.splitlines() if "gfx942" in line).split()) == (
        "gfx942 26 0 0 64 96 2 mfma 128 128"
    )
    assert "skipped: no baseline of Triton 9.9.9" in completed.out


def test_a_baseline_is_written_on_purpose_and_held(run, seen, tmp_path):
    run("static")
    assert not list(tmp_path.glob("triton-*"))
    completed = run("static", "--accept")
    assert (completed.code, "skipped" in completed.out) == (0, False)
    seen[1]["instructions"] = 200
    completed = run("static")
    assert completed.code == 1
    assert "fail cache_write[sm_90 baseline]: _cache_write of T64 for sm_90 200 instructions, 96 in" in completed.out


def test_compile_error_is_listed_and_not_accepted(run, seen):
    seen[0] = {name: ROW[name] for name in ("op", "kernel", "configuration", "bytes", "flops", "shared_limit")}
    seen[0] |= {"target": "sm_80", "error": "CompilationError: at [3:4]"}
    completed = run("static")
    assert completed.code == 1
    assert "sm_80 CompilationError: at [3:4]" in " ".join(completed.out.split())
    assert "does not compile: CompilationError: at [3:4]" in completed.out
    assert run("static", "--accept").code == 2


def test_json(run, seen):
    completed = run("static", "--json")
    body = json.loads(completed.out)
    assert (body["triton"], len(body["rows"]), len(body["verdicts"])) == ("9.9.9", 4, 8)


def test_an_unknown_op_is_a_mistake(run, seen):
    completed = run("static", "--op", "nothing")
    assert completed.code == 2
    assert "no op 'nothing'" in completed.err
