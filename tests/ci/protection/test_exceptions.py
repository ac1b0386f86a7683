"""What a change adds to lists of exceptions is found, line by line."""

import json

import pytest

from braidcheck import checksum
from braidcheck.ci.protection.exceptions import added, configured
from braidcheck.environment import PACKAGE
from braidcheck.static.baseline import SCHEMA

EQUIVALENT, STATIC, BASELINE = "mutants/equivalent.toml", "static/exceptions.toml", "static/baselines/triton-3.7.1.json"


@pytest.fixture
def trees(tmp_path):
    """Two trees with the package's own lists; ``edit`` changes one of the second's."""
    for tree in ("base", "change"):
        for file in (EQUIVALENT, STATIC, BASELINE):
            path = tmp_path / tree / "braidcheck" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((PACKAGE / file).read_bytes())

    def edit(file, change, tree="change"):
        path = tmp_path / tree / "braidcheck" / file
        path.write_text(change(path.read_text()))
        return added(tmp_path / "base", tmp_path / "change")

    return edit


def rows(change):
    def edit(text):
        body = checksum.opened(text, SCHEMA)
        change(body["rows"])
        return checksum.seal(json.dumps(body), SCHEMA)

    return edit


def test_nothing_is_added_by_nothing(trees):
    assert trees(STATIC, lambda text: text + "\n# a word\n") == {}


def test_a_mutant_that_is_called_equivalent(trees):
    line = '"zero is zero" = ["rms_norm._rms_norm.constant.99"]\n'
    found = {"equivalent mutant rms_norm._rms_norm.constant.99": "zero is zero"}
    assert trees(EQUIVALENT, lambda text: line + text) == found
    assert trees(EQUIVALENT, lambda text: line + text, "base") == {}


def test_a_mutant_more_under_an_old_reason(trees):
    reason = "zero divided by two is zero as well"
    found = trees(
        EQUIVALENT, lambda text: text.replace(f'"{reason}" = [', f'"{reason}" = [\n  "op.kernel.constant.99",')
    )
    assert found == {"equivalent mutant op.kernel.constant.99": reason}


def test_a_spill_that_is_excused(trees):
    line = '["9.9.9"]\n"rms_norm | sm_90 | _rms_norm | x" = "why not"\n'
    assert trees(STATIC, lambda text: text + line) == {
        "static exception 9.9.9: rms_norm | sm_90 | _rms_norm | x": "why not"
    }


def test_a_baseline_that_accepts_more_than_the_gate_would(trees):
    def more(rows, times):
        first = next(iter(rows.values()))
        first["instructions"] = int(first["instructions"] * times)

    assert trees(BASELINE, rows(lambda rows: more(rows, 0.9))) == {}
    [(name, said)] = trees(BASELINE, rows(lambda rows: more(rows, 2))).items()
    assert name == "baseline triton-3.7.1 attention_decode[gfx942]"
    assert "instructions" in said


def test_a_baseline_that_forgets(trees):
    [(name, said)] = trees(BASELINE, rows(lambda rows: rows.pop(next(iter(rows))))).items()
    assert name == "baseline triton-3.7.1 attention_decode[gfx942]"
    assert said.endswith("no longer in the baseline")
    [(name, said)] = trees(BASELINE, rows(lambda rows: [rows.pop(key) for key in list(rows)[:2]])).items()  # two more
    assert name == "baseline triton-3.7.1 attention_decode[gfx942]"
    assert said.endswith("no longer in the baseline; 2 more")


def test_a_list_that_the_base_does_not_have_is_all_new(trees, tmp_path):
    (tmp_path / "base" / "braidcheck" / STATIC).unlink()
    (tmp_path / "change" / "braidcheck" / STATIC).write_text('["3.7.1"]\n"a" = "why"\n')
    assert added(tmp_path / "base", tmp_path / "change") == {"static exception 3.7.1: a": "why"}


def test_a_table_that_asks_for_less_is_told_with_both_values(tmp_path):
    for tree, table in (("base", "workers = 1\nlane = 'gpu'"), ("change", "workers = 2\ngates = ['accuracy']")):
        (tmp_path / tree).mkdir()
        (tmp_path / tree / "pyproject.toml").write_text(f"[tool.braidcheck]\n{table}\n")
    assert configured(tmp_path / "base", tmp_path / "change") == {
        "gates": "the change has ['accuracy'], the base not set",
        "lane": "the change has not set, the base 'gpu'",
    }
    assert configured(tmp_path / "base", tmp_path / "base") == {}
