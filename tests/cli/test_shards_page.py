"""The command lines of docs/shards.md, as their scheduler would run them: each example ends in one whole Run."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from braidcheck import environment

PAGE = (Path(__file__).parent.parent.parent / "docs" / "shards.md").read_text()
EXAMPLES = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
# What each scheduler sets for its first and its second process.
VARIABLES = {
    "A workflow matrix on GitHub": [{"matrix_shard": index} for index in ("1", "2")],
    "A Slurm array": [{"SLURM_ARRAY_TASK_ID": index, "SLURM_ARRAY_TASK_COUNT": "2"} for index in ("1", "2")],
    "An indexed Job on Kubernetes": [{"JOB_COMPLETION_INDEX": index} for index in ("0", "1")],
    "Ray jobs": [{"shard": index, "SHARED": "shared"} for index in ("1", "2")],
}


def lines(title, verb):
    """The command lines of an example; GitHub's expressions become variables of the shell."""
    text = re.sub(r"\$\{\{ (\w+)\.(\w+) \}\}", r"${\1_\2}", EXAMPLES[title])
    text = re.sub(r"\\\n *", "", text)  # a line that goes on
    return re.findall(rf"^.*?(braidcheck {verb} .*)$", text, re.MULTILINE)


def words(line, variables):
    """What the shell makes of a command line."""
    shell = ["bash", "-uc", f"printf '%s\\n' {line}"]
    completed = subprocess.run(shell, env=os.environ | variables, capture_output=True, text=True, check=True)
    return completed.stdout.splitlines()[1:]


def test_every_example_of_the_page_is_run():
    assert EXAMPLES.keys() == VARIABLES.keys()
    for title in EXAMPLES:
        assert (len(lines(title, "gate")), len(lines(title, "merge"))) == (1, 1), title
    named = [line for title in EXAMPLES for verb in ("gate", "merge") for line in lines(title, verb)]
    assert len(re.findall(r"braidcheck (?:gate|merge) \S", PAGE.split("\n## ", 1)[1])) == len(named)


@pytest.mark.parametrize("title", VARIABLES)
def test_the_shards_of_an_example_are_a_whole_run(suite, run, result, monkeypatch, title):
    monkeypatch.setattr(environment, "commit", lambda: "c0ffee" * 7)
    (gate,), (merge,) = lines(title, "gate"), lines(title, "merge")
    for variables in VARIABLES[title]:
        made = words(gate, variables)
        assert run(*made, "--workers", "1").code == 0, shlex.join(made)
    completed = run(*words(merge, VARIABLES[title][0]))
    assert completed.code == 0, completed.err
    assert len(result()[0].verdicts) == 6
