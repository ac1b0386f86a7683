"""Named mutants: all apply, whatever the layout of their files, and one that no longer does says so."""

import ast
import re
from collections import Counter
from functools import cache
from types import SimpleNamespace

import pytest

from braidcheck import kernels, models
from braidcheck.errors import UserError
from braidcheck.gates import GATES, static_trials
from braidcheck.gates.calls.measure import op_checks
from braidcheck.gates.edges.measure import edge_checks
from braidcheck.gates.engine.measure import engine_checks
from braidcheck.gates.gate import Fixtures, Trial
from braidcheck.gates.loader.measure import loader_checks
from braidcheck.gates.races.trials import op_trials, step_trials
from braidcheck.mutants import affected_ops, named_faults, selection
from braidcheck.mutants.mutant import FAMILIES, PACKAGE
from braidcheck.mutants.syntax import lines

NAMED, OPS = named_faults.named(), kernels.find()
PARTS = Counter(mutant.part for mutant in NAMED)

ENTRY = """
[[mutant]]
id = "late"
description = "one late"
file = "kernels/cache_write/kernel.py"
function = "{function}"
old = '''{old}'''
new = '''{new}'''
"""


def test_there_are_enough_and_every_op_has_some():
    assert len(NAMED) >= 60
    for part in (*kernels.find(), "engine", "attention", "cache", "positions", "weights", "config"):
        assert PARTS[part] >= 3, part


def test_ids_are_unique():
    assert len({mutant.id for mutant in NAMED}) == len(NAMED)


@pytest.mark.parametrize("mutant", NAMED, ids=lambda mutant: mutant.id)
def test_each_applies_and_is_still_python(mutant):
    assert not mutant.stale
    assert mutant.text != (PACKAGE / mutant.file).read_text(encoding="utf-8")
    compile(mutant.text, mutant.file, "exec")


def test_patches_of_shared_functions_know_whom_they_reach():
    mutants = {mutant.id: mutant for mutant in NAMED}
    assert mutants["shared: table overrun"].ops == ("fused_attention", "qk_norm_rope", "qkv_rope")
    assert mutants["shared: few, first chunk again"].ops == (
        "gate_up_silu",
        "linear_residual",
        "lm_head",
        "rms_norm_qkv",
    )
    assert mutants["shared: one, norm forgotten"].ops == ("gate_up_silu", "lm_head", "rms_norm_qkv")
    assert set(mutants["shared: interpreter truncates"].ops) == set(affected_ops.every())
    assert mutants["shared: norm, eps 1e-5"].ops == ("gate_up_silu", "rms_norm", "rms_norm_qkv")
    assert mutants["rms_norm: out ignored"].ops == ("rms_norm",)
    assert mutants["engine: last layer skipped"].ops == ()


def test_expected_detectors_exist_and_run_first():
    tiny = SimpleNamespace(architecture=models.find()["qwen3"])
    engine, loader = engine_checks(tiny, tiny, "cpu"), loader_checks(tiny, "cpu")
    edges = {f"{op.name}: {name}": probe for op in OPS.values() for name, probe in edge_checks(op, op.call, "cpu")}
    calls = {f"{op.name}: {name}": check for op in OPS.values() for name, check in op_checks(op, "cpu").items()}
    trial = Trial(OPS, "cpu", {}, Fixtures())
    races = {"races": dict(op_trials(trial)), "step_races": dict(step_trials(trial))}
    subjects = {"engine": dict(engine), "loader": dict(loader), "edges": edges, "calls": calls, **races}
    subjects["static"] = dict(static_trials.trial_checks(trial))
    subjects |= {gate: dict(GATES[gate].load_trial_checks()(trial)) for gate in ("sizes", "fence")}
    known = [mutant for mutant in NAMED if mutant.expected_detector[0]]
    assert len(known) > 50
    assert [
        mutant.id for mutant in known if mutant.expected_detector[1] not in subjects[mutant.expected_detector[0]]
    ] == []
    assert [mutant.id for mutant in known if selection.gates(mutant)[0] != mutant.expected_detector[0]] == []


def statements(text):
    """The syntax trees of a file's outermost statements."""
    rows = text.splitlines()
    spans = [lines(node) for node in ast.parse(text).body]
    return [tree_of("\n".join(rows[span.start - 1 : span.stop - 1])) for span in spans]


@cache  # all but one statement of a mutant are those of the others
def tree_of(text):
    return ast.dump(ast.parse(text))


def test_another_layout_changes_no_mutant(tmp_path):
    for file in {mutant.file for mutant in NAMED}:
        text = (PACKAGE / file).read_text(encoding="utf-8")
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(ast.unparse(ast.parse(text)), encoding="utf-8")
    found = [mutant for path in named_faults.files() for mutant in named_faults.load(path, tmp_path)]
    assert [mutant.stale for mutant in found if mutant.stale] == []
    for mutant, other in zip(NAMED, found, strict=True):
        assert statements(mutant.text) == statements(other.text), mutant.id


@pytest.mark.parametrize(
    ("function", "old", "said"),
    [
        (
            "_cache_write",
            "no_such_name + 1",
            "stands 0 times in _cache_write of kernels/cache_write/kernel.py, must be once",
        ),
        ("_cache_write", "tl.float32", "stands 0 times"),
        ("", "tl.constexpr", "stands {tl.constexpr} times in kernels/cache_write/kernel.py, must be once"),
        ("_gone", "x", "kernels/cache_write/kernel.py defines _gone 0 times"),
        ("", "x = (", "must be expressions, arguments or statements"),
        ("", "", "must be expressions, arguments or statements"),
    ],
)
def test_a_patch_that_does_not_apply_once_is_stale(tmp_path, function, old, said):
    count = (PACKAGE / "kernels/cache_write/kernel.py").read_text(encoding="utf-8").count("tl.constexpr")
    assert count > 1
    file = tmp_path / "cache_write.toml"
    file.write_text(ENTRY.format(function=function, old=old, new="x"))
    (mutant,) = named_faults.load(file)
    assert said.replace("{tl.constexpr}", str(count)) in mutant.stale
    assert not mutant.text


def test_mutants_can_be_chosen_by_op():
    chosen = selection.choose(("named",), ("rms_norm",))
    assert {mutant.part for mutant in chosen} == {"rms_norm", "shared", "speed"}
    with pytest.raises(UserError, match="no mutant of nothing"):
        selection.choose(("generated",), ("nothing",))


def test_a_fault_is_of_the_family_of_its_kind():
    families = Counter(mutant.family for mutant in NAMED)
    assert families.keys() == FAMILIES.keys()
    assert min(families.values()) > 20


@pytest.mark.parametrize(
    ("function", "old", "family"),
    [("_cache_write", "mask", "device"), ("cache_write", "k_cache", "host")],
)
def test_a_fault_without_a_family_is_of_where_it_lies(function, old, family, tmp_path):
    file = tmp_path / "cache_write.toml"
    entry = ENTRY if family == "device" else ENTRY.replace("kernel.py", "__init__.py")
    file.write_text(entry.format(function=function, old=old, new="x"))
    (mutant,) = named_faults.load(file)
    assert mutant.family == family
    file.write_text(file.read_text() + 'family = "size"\n')
    assert next(iter(named_faults.load(file))).family == "size"


def test_who_says_a_size_in_the_description_says_it_as_family_too():
    """Else the score of a family would show what a gate for sizes is asked for elsewhere."""
    size = re.compile(
        r"from [\d,]+ (rows|tokens|keys) on|at most [\d,]+ (rows|tokens|slots|outputs|query heads)|past 2\*\*31"
    )
    assert {
        mutant.id: mutant.family for mutant in NAMED if size.search(mutant.description) and mutant.family != "size"
    } == {}
