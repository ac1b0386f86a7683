"""docs/failures/: each gate has one entry, with its question, what a failure means, its usual causes and what to do."""

import re
from pathlib import Path

import pytest

from braidcheck.gates import ENGINE_GATES, GATES
from braidcheck.report.failure_pages import ENTRIES as REPORTED

FOLDER = Path(__file__).parents[2] / "docs" / "failures"
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md")))
ENTRIES = re.findall(r"^## (\w+)\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
PARTS = ("Means", "Usual causes", "Do")
QUESTIONS = {name: gate.question for name, gate in GATES.items()} | ENGINE_GATES


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_gate_has_one_entry_with_all_parts(name):
    (entry,) = [text for title, text in ENTRIES if title == name]
    assert f"> {QUESTIONS[name]}\n" in entry
    said = dict(re.findall(r"\*\*([\w ]+)\.\*\* *\n?(.*?)(?=^\*\*|\Z)", entry, re.MULTILINE | re.DOTALL))
    assert tuple(said) == PARTS
    assert all(len(text.split()) >= 8 for text in said.values())


def test_the_front_page_names_every_gate():
    table = (FOLDER / "index.md").read_text(encoding="utf-8").rpartition("| failed gate | page |")[2]
    assert set(QUESTIONS) <= set(re.findall(r"\w+", table))


@pytest.mark.parametrize("name", QUESTIONS)
def test_reports_point_at_the_entry_of_each_gate(name):
    path, _, anchor = REPORTED[name].partition("#")
    assert f"\n## {anchor}\n" in (FOLDER.parents[1] / path).read_text(encoding="utf-8")
