"""The examples of docs/other-ci.md: their command lines work, and a red gate ends red with everything kept."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from braidcheck.cli import load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "other-ci.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = {
    title: yaml.safe_load(found[1])
    for title, text in SECTIONS.items()
    if (found := re.search(r"```yaml\n(.*?)```", text, re.DOTALL))
}
GITLAB, (BUILDKITE,) = EXAMPLES["GitLab"]["braidcheck"], EXAMPLES["Buildkite"]["steps"]
SCRIPTS = {
    "GitLab": "\n".join(GITLAB["script"]),
    "GitLab, after": "\n".join(GITLAB["after_script"]),
    "Buildkite": BUILDKITE["command"].replace("$$", "$"),
}
# The gate leaves its files and ends red; an agent takes what it is given.
COMMANDS = {
    "braidcheck": """echo "$1" >> said
        [ "$1" = report ] && exit
        mkdir braidcheck-out
        echo 1 > braidcheck-out/summary.md
        exit 1""",
    "buildkite-agent": "cat > annotation",
}


def commands(title):
    return re.findall(r"^\s*braidcheck (.*?)(?: \|\| .*)?$", SCRIPTS[title], re.MULTILINE)


@pytest.mark.parametrize("titles", [("GitLab", "GitLab, after"), ("Buildkite",)], ids=" and ".join)
def test_the_command_lines_of_an_example(suite, run, titles, tmp_path):
    lines = [line for title in titles for line in commands(title)]
    assert [line.split()[0] for line in lines] == ["gate", "report"]
    for line in lines:
        workers = ("--workers", "1") if line.startswith("gate") else ()
        completed = run(*line.split(), *workers)
        assert completed.code == 0, completed.err
    kept = {path.name for path in (tmp_path / "braidcheck-out").iterdir()}
    assert {"run.json", "summary.md", "junit.xml", "run.sarif", "badge.svg", "report.html"} <= kept
    assert all(
        (tmp_path / path).exists() for path in (GITLAB["artifacts"]["reports"]["junit"], *GITLAB["artifacts"]["paths"])
    )


def test_a_container_is_made_of_what_is_here_and_runs_what_there_is():
    text = SECTIONS["A container"]
    places = re.findall(r" /opt/braidcheck/(\S+)", text)
    assert places
    assert all((ROOT / place / "pyproject.toml").exists() for place in places)
    words = [line.split(" braidcheck ")[1].split() for line in re.findall(r"^\$ podman run .*", text, re.MULTILINE)]
    assert [one[0] for one in words] == ["gate", "gate"]
    known = {option for param in load("gate").params for option in param.opts}
    assert {word for one in words for word in one if word.startswith("-")} <= known


def test_the_page_names_every_file():
    assert {"run.json", "summary.md", "junit.xml", "run.sarif", "badge.svg"} <= set(re.findall(r"`([\w.]+)`", PAGE))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("title", ["GitLab", "Buildkite"])
def test_a_red_gate_is_a_red_job(title, tmp_path):
    for name, text in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", SCRIPTS[title]], cwd=tmp_path, env=env, check=False)
    assert done.returncode == 1
    if title == "Buildkite":  # GitLab keeps files by itself
        assert (tmp_path / "said").read_text().split() == ["gate", "report"]
        assert (tmp_path / "annotation").read_text() == "1\n"


def test_the_inputs_of_the_action_are_the_pages():
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    documented = re.findall(r"^\| `(\w+)` \| .* \| .* \|$", PAGE, re.MULTILINE)
    assert documented == list(action["inputs"])
    (used,) = (step for step in EXAMPLES["GitHub"]["jobs"]["gate"]["steps"] if "braidcheck@" in step.get("uses", ""))
    assert set(used["with"]) <= set(action["inputs"])
    named = re.search(r"The outputs are `(\w+)` and `(\w+)`", PAGE)
    assert list(named.groups()) == list(action["outputs"])
