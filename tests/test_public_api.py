"""What is promised to stay: the names that docs/releasing.md calls public, and the formats that it says are read."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

from braidcheck.ci import history
from braidcheck.cli import mutants, report, sensitivity
from braidcheck.golden import resolve, store
from braidcheck.mutants import runner
from braidcheck.result import FORMAT, Run
from braidcheck.static import baseline

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8")
PUBLIC = re.findall(r"^\| `(braidcheck[\w.]*)` \|", PAGE, re.MULTILINE)
FORMATS = {
    name: (int(now), tuple(map(int, read.split(", "))))
    for name, now, read in re.findall(r"^\| ([\w ]+?)(?::.*?)? \| (\d+) \| ([\d, ]+) \|", PAGE, re.MULTILINE)
}
OLD_RUN = {
    "format": 1,
    "status": "skipped",
    "exit_code": 3,
    "environment": {"started": "2026-11-21T10:36:16+00:00"},
    "expected": [],
    "verdicts": [],
}


def test_public_modules_and_no_others_list_their_names():
    listed = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "braidcheck").rglob("*.py")
        if re.search("^__all__ = ", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert listed == set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_listed_name_exists(name):
    module = importlib.import_module(name)
    assert [one for one in module.__all__ if not hasattr(module, one)] == []


@pytest.mark.parametrize("path", ["docs/examples/silu_and_mul.py", "braidcheck/cli/templates/op.txt"])
def test_what_users_copy_imports_public_names_only(path):
    nodes = ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    used = [(node.module, alias.name) for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names]
    own = [(module, name) for module, name in used if module.startswith("braidcheck")]
    assert len(own) > 5
    private = [one for one in own if ".".join(one) not in PUBLIC]
    assert [one for one in private if one[1] not in getattr(importlib.import_module(one[0]), "__all__", ())] == []


def test_the_page_has_the_formats_that_are_written():
    of_schema = {schema.rpartition(" ")[0]: int(schema.split()[-1]) for schema in SCHEMAS}
    written = {name: now for name, (now, _) in FORMATS.items()}
    assert written == {"Run": FORMAT, "kill matrix": runner.FORMAT, "golden": store.FORMAT} | of_schema


SCHEMAS = (sensitivity.SCHEMA, baseline.SCHEMA)


@pytest.fixture
def read(tmp_path):
    """Reads a file of each format that is promised to be read."""
    file = tmp_path / "run.json"

    def in_history(body):
        file.write_text(json.dumps(body))
        history.add(file, tmp_path / "history")
        return history.runs(tmp_path / "history")

    return {
        ("Run", 1): lambda: in_history(OLD_RUN),
        ("Run", 2): lambda: in_history(json.loads(Run.from_json(json.dumps(OLD_RUN)).to_json())),
        ("kill matrix", 1): lambda: mutants.read_matrix(ROOT / "docs/results/kill-matrix-named-cpu.json")["mutants"],
        ("golden", 1): lambda: store._manifest(resolve.NANO_GOLDEN),
        ("sensitivity", 1): lambda: report._sizes(ROOT / "docs/results/sensitivity-h200.json"),
        ("static baseline", 1): lambda: baseline.read("3.7.1"),
    }


def test_every_format_of_the_page_is_read(read):
    promised = {(name, version) for name, (_, versions) in FORMATS.items() for version in versions}
    assert promised == read.keys()
    assert all(name in versions for name, versions in FORMATS.values())
    for promise in promised:
        assert read[promise](), promise
