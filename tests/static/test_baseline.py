"""The accepted baseline: one file a Triton version, rewritten on purpose only."""

import pytest

from braidcheck.errors import UserError
from braidcheck.static import baseline

ROW = {"op": "a", "target": "sm_90", "kernel": "_a", "configuration": "T1", "bytes": 5, "flops": 6, "shared_limit": 9}


def evidence(*ops, spills=0, triton="9.9.9"):
    return {"triton": triton, "rows": [ROW | {"op": op, "spills": spills, "loads": {"128": 2}} for op in ops]}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(baseline, "FOLDER", tmp_path)
    return tmp_path


def test_baseline_round_trip():
    file = baseline.accept(evidence("a", "b"))
    assert file.name == "triton-9.9.9.json"
    rows = baseline.read("9.9.9")
    assert [row["op"] for row in rows] == ["a", "b"]
    assert rows[0] == {
        "op": "a", "target": "sm_90", "kernel": "_a", "configuration": "T1", "spills": 0, "loads": {"128": 2}
    }  # fmt: skip
    assert baseline.read("9.9.8") is None


def test_one_op_can_be_accepted_alone():
    baseline.accept(evidence("a", "b"))
    baseline.accept(evidence("b", spills=4), ["b"])
    assert {row["op"]: row["spills"] for row in baseline.read("9.9.9")} == {"a": 0, "b": 4}
    baseline.accept(evidence("b"))
    assert [row["op"] for row in baseline.read("9.9.9")] == ["b"]


def test_what_does_not_compile_is_never_accepted(folder):
    broken = evidence("a")
    broken["rows"][0]["error"] = "it died"
    with pytest.raises(UserError, match="_a of a does not compile for sm_90: it died"):
        baseline.accept(broken)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', '{"format": 1, "rows": {"a": {}}}'])
def test_a_damaged_file_is_said(folder, text):
    (folder / "triton-9.9.9.json").write_text(text)
    with pytest.raises(UserError, match="braidcheck static --accept"):
        baseline.read("9.9.9")


def test_a_folder_that_cannot_be_written(folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setattr(baseline, "FOLDER", folder / "file")
    with pytest.raises(UserError, match="cannot write"):
        baseline.accept(evidence("a"))


def test_a_spill_is_excused_for_its_triton_alone(folder, monkeypatch):
    monkeypatch.setattr(baseline, "EXCEPTIONS", folder / "exceptions.toml")
    (folder / "exceptions.toml").write_text('["9.9.9"]\n"a | sm_90 | _a | T1" = "why"\n')
    assert baseline.excused("9.9.9") == {("a", "sm_90", "_a", "T1"): "why"}
    assert baseline.excused("9.9.8") == {}
