"""The reference is made of every command, op and entry of a Run."""

import json

import pytest

from braidcheck import kernels
from braidcheck.cli import bounds, main
from braidcheck.cli.mutants import read_matrix
from braidcheck.mutants.mutant import Mutant
from braidcheck.result import Run, Status, Verdict
from tools.site import commands, faults, formats, ops
from tools.site.markdown import table


def test_every_command_is_on_the_page(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    page = commands.page()
    assert len(commands.commands()) > 20
    for words, command in commands.commands().items():
        assert words.split()[1] in said
        assert f"\n## {words}\n" in page
        assert command.help
        assert all(option.help for option in command.params), words


@pytest.mark.parametrize("name", kernels.find())
def test_every_op_has_a_page_with_all_of_its_cases(name):
    op = kernels.find()[name]
    page = ops.page(op, bounds.read(), [])
    assert page.startswith(f"# {name}\n")
    assert len(page.partition("\n## Bound\n")[2].partition("\n## ")[0]) > 50
    rows = page.partition("## Cases\n")[2].partition("\n\n| profile")[0]
    assert rows.count("\n| ") - 2 == len(op.cases)
    assert all(control in page for control in op.negative_controls)


def test_the_schema_names_all_that_a_run_holds():
    verdict = Verdict("accuracy", "a", Status.FAIL, "m", value=float("inf"), limit=1.0, metrics={"x": 1})
    body = json.loads(Run({"commit": None}, (verdict.id,), (verdict,)).to_json())
    schema = formats.schema()
    assert body.keys() == schema["properties"].keys()
    row = schema["properties"]["verdicts"]["items"]["properties"]
    assert body["verdicts"][0].keys() == row.keys()
    names = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", type(None): "null"}
    wrong = [
        key for key, value in body["verdicts"][0].items() if names[type(value)] not in row[key].get("type", "string")
    ]
    assert wrong == []


def test_faults_are_listed_with_what_caught_them():
    rows = {row["id"]: row for row in read_matrix(faults.MATRIX)["mutants"]}
    caught = next(row for row in rows.values() if row.get("bug") and row["gate"])
    known = Mutant(caught["id"], "named", caught["part"], "as planted", "x.py", (), bug=caught["bug"])
    new = Mutant("lm_head: new", "named", "lm_head", "planted later", "x.py", (), bug="a bug")
    page = faults.page([known, new, Mutant("a: b", "named", "a", "of no public bug", "x.py", ())])
    assert f"## {caught['part']}\n" in page
    assert f"| {caught['bug']} | as planted | {caught['gate']} | {caught['said'].split()[0]}" in page
    assert "| a bug | planted later | - |  |" in page
    assert "of no public bug" not in page


def test_a_table_keeps_its_columns():
    assert table(("a",), []) == ""
    assert table(("a", "b"), [("x|y", "line\nline")]) == "| a | b |\n| --- | --- |\n| x\\|y | line line |\n"
