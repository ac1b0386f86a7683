"""``braidcheck new op``: the skeleton works as it is written."""

import json

import pytest

from braidcheck import external_ops, kernels
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.gates.vacuity import evaluate
from braidcheck.gates.vacuity.measure import measure_vacuity
from braidcheck.numerics.calls import copies
from braidcheck.numerics.calls import run as call
from braidcheck.result import Status


def test_skeleton_is_an_op_that_passes(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    completed = run("new", "op", "brand_new")
    assert completed.code == 0
    assert completed.out == "wrote brand_new.py; run it with: braidcheck gate --ops brand_new.py --op brand_new\n"
    names = [op["name"] for op in json.loads(run("list", "--json", "--ops", "brand_new.py").out)["ops"]]
    assert names[-1] == "brand_new"
    with external_ops.announced(["brand_new.py"], tmp_path):
        op = kernels.find()["brand_new"]
    for function in (op.call, *op.variants.values()):
        verdicts = [accuracy.evaluate(measure_op(op, case, "cpu", function)) for case in op.cases]
        assert {verdict.status for verdict in verdicts} == {Status.PASS}
    assert evaluate(measure_vacuity(op), op.name).status == Status.PASS
    wrong = measure_op(op, op.cases[0], "cpu", lambda x, scale: call(op, op.call, copies({"x": x, "scale": 0.705}))[0])
    assert accuracy.evaluate(wrong).status == Status.FAIL


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("rms_norm",), "braidcheck already has an op rms_norm"),
        (("My-Op",), "an op's name must be a Python name in lower case, not 'My-Op'"),
        (("fine", "--folder", "nowhere"), "--folder nowhere: no such folder"),
        (("there",), "there.py exists already"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(refused, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.py").write_text("mine")
    refused(2, says, "new", "op", *words)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("there.py", "mine")]
