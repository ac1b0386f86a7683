"""docs/tutorial.md from its first command to its last: files are written, commands run, what they print is compared."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from braidcheck import environment
from braidcheck.cli import main
from braidcheck.report import progress

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
FENCES = re.findall(r'^```(\w+)(?: title="(.*?)")?\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
NOT_RUN = {  # a test neither makes environments nor fetches packages
    "python3 -m venv .venv && . .venv/bin/activate",
    'python3 -m pip install "git+URL"',
}
NUMBER = r"[0-9]+\.[0-9]+(?:e[+-]?[0-9]+)?|[0-9]+e[+-]?[0-9]+"


def commands(text):
    """The commands of a console block, and what each prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def plain(text):
    """Output without what differs from machine to machine: times, digits of measured numbers, the widths of tables."""
    text = re.sub(r"\b[\d.]+ (s|min)\b", "TIME", text)
    text = re.sub(NUMBER, "NUMBER", text)
    lines = (re.sub(r"─+", "─", " ".join(line.split())) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def is_shown(shown, said):
    """Whether ``shown`` is what was said, its dots standing for anything: of a line, or for any number of lines."""
    pattern = "\n".join(".*" if line == "..." else re.escape(line) for line in plain(shown).split("\n"))
    pattern = re.sub(r"(?<=.)\\\.\\\.\\\.", lambda _: "[^\n]*", pattern)
    return re.fullmatch(pattern, plain(said), re.DOTALL) is not None


def write(place, text):
    """A file of the page, or lines above a line of one."""
    name, _, below = place.partition(", above ")
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if below:
        before, after = re.split(rf"(?=^ *{re.escape(below)})", path.read_text(), flags=re.MULTILINE)
        text = before + text + after
    path.write_text(text)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project, no GPU, and afterwards no trace of its modules in this process."""
    monkeypatch.setattr(environment, "gpus", tuple)
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 1e6)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("mylib", "braidcheck_ops", "scaled_silu")]:
        del sys.modules[name]


def test_each_command_prints_what_the_page_shows(project, capfd):
    ran = set()
    for language, place, text in FENCES:
        if language != "console":
            write(place, text)
            continue
        for command, shown in commands(text):
            ran.add(command)
            if command in NOT_RUN:
                continue
            capfd.readouterr()
            if command.startswith("braidcheck "):
                main(shlex.split(command)[1:])
            else:
                subprocess.run(["bash", "-euc", command], check=True)
            said = capfd.readouterr().out
            assert is_shown(shown, said), f"$ {command}\n{said}"
    assert ran > NOT_RUN
    workflow = yaml.safe_load((project / ".github/workflows/braidcheck.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["gate"]["steps"] if "run" in step]
    assert "braidcheck check rms_norm mylib/norm.py:rms_norm" in steps
    assert workflow["jobs"]["gate"]["name"] == "Kernels"


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        ("PASS: 4 pass in 14 s", "PASS: 4 pass in 9 s", True),
        ("PASS: 4 pass in 14 s", "PASS: 3 pass in 14 s", False),
        ("a | 8.9e+05 | ... | end", "a | 1.2e+06 | x | end", True),
        ("a | ... | end", "a | x\ny | end", False),
        ("...\nlast", "one\ntwo\nlast", True),
        ("first\n...\nlast", "first\nlast, not", False),
        (" a   b\n ────", "a b\n──", True),
        ("", "something", False),
    ],
)
def test_what_counts_as_shown(shown, said, same):
    assert is_shown(shown, said) == same
