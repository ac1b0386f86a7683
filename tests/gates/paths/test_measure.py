"""Which branches and configs ran: each side of an if, each loop, and no more cases than that takes."""

from dataclasses import replace

from braidcheck import external_ops, kernels
from braidcheck.environment import PACKAGE
from braidcheck.gates import paths
from braidcheck.gates.paths import measure
from braidcheck.gates.paths.recording import branches
from braidcheck.numerics.calls import copies, run

OPS = kernels.find()
NORM = OPS["rms_norm"]


def nested(x, FLAG, OTHER):
    for _ in range(x):
        if FLAG:
            x += 1
        else:
            while OTHER:
                x += 2
    if OTHER:
        return 1
    return x


def test_every_branch_has_a_name():
    assert branches(nested) == [
        "nested", "nested: for _", "nested: if OTHER", "nested: not if OTHER", "nested: if FLAG",
        "nested: not if FLAG", "nested: while OTHER",
    ]  # fmt: skip


def case_of(needs):
    return next(case for case in measure._unlike_first(NORM) if case.needs == needs)


def ran(*cases):
    with measure.recorded() as found:
        for case in cases:
            run(NORM, NORM.call, copies(NORM.inputs(case, "cpu")))
    return found()


def test_each_side_of_an_if_is_marked_by_itself():
    plain, residual = (ran(case_of(needs)) for needs in ((), ("residual",)))
    assert "rms_norm: _rms_norm: not if HAS_RESIDUAL" in plain - residual
    assert "rms_norm: _rms_norm: if HAS_RESIDUAL" in residual - plain


def test_configs_that_were_asked_for_are_kept_and_given_as_ever():
    assert [path for path in ran(case_of(())) if "config" in path] == ["rms_norm: config TILED ANY"]


def test_a_path_without_a_case_is_missing():
    plain = replace(NORM, cases=tuple(case for case in NORM.cases if not case.needs))
    norm, _ = measure.measure_paths({"rms_norm": plain}, {})
    assert "rms_norm: _rms_norm: if HAS_RESIDUAL" in norm["missing"]
    assert paths.evaluate(norm, {}).status == "fail"
    assert "rms_norm: _rms_norm" in norm["ran"]


def test_paths_of_an_op_of_another_project_are_its_own():
    with external_ops.announced([str(PACKAGE.parent / "docs" / "examples" / "silu_and_mul.py")]):
        op = kernels.find()["silu_and_mul"]
        evidence, _ = measure.measure_paths({op.name: op}, {})
        (unrun, _) = measure.measure_paths({op.name: replace(op, cases=())}, {})
    assert evidence["ran"] == evidence["paths"] == unrun["missing"] == ["silu_and_mul: _silu_and_mul"]


def test_no_case_is_run_once_all_paths_have(monkeypatch):
    calls = []
    monkeypatch.setattr(measure, "run", lambda *_: calls.append(1))
    measure._run_until(lambda: {"a"}, {"a"}, [(NORM, NORM.cases[0])])
    assert not calls
    measure._run_until(set, {"a"}, [(NORM, NORM.cases[0])])
    assert calls
