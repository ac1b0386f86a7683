"""Every command line that a page shows is one that the command line takes: its words, its options."""

import re
import shlex
from pathlib import Path

import pytest

from tools.site.commands import commands

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
KNOWN = commands()
LINE = re.compile(r"^(?: {4}|\$ )(?:[A-Z_]+=\S+ )*(braidcheck .*)$", re.MULTILINE)
INLINE = re.compile(r"`(braidcheck [^`]+)`")


def shown(text):
    """The command lines of a page's blocks and of its sentences, without comments."""
    text = re.sub(r"\\\n *", "", text)  # a line that goes on
    for found in (*LINE.findall(text), *INLINE.findall(text)):
        for command in re.split(r" && | \| ", " ".join(found.split())):
            words = shlex.split(command, comments=True)
            if words[:1] == ["braidcheck"]:
                yield words


def fault(words):
    """What the command line would not take of ``words``; empty where it would."""
    if words[1:2] == ["bench"] and " ".join(words[:3]) not in KNOWN:  # "ops" may be left out
        words = [*words[:2], "ops", *words[2:]]
    name = next((name for name in (" ".join(words[:3]), " ".join(words[:2])) if name in KNOWN), None)
    if name is None:
        group = len(words) == 2 and any(known.startswith(f"{' '.join(words)} ") for known in KNOWN)
        return "" if group or words[1:2] in (["COMMAND"], ["--help"]) else f"no command {' '.join(words[:3])}"
    if name == "braidcheck config" and words[2:3] and not words[2].startswith("-"):  # followed by another command
        return fault(["braidcheck", *words[2:]])
    taken = {option for one in KNOWN[name].params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    return next((f"{name} has no {word}" for word in words if re.match("--?[a-z]", word) and word not in taken), "")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_of_a_page_exist_with_their_options(page):
    assert [found for words in shown(page.read_text(encoding="utf-8")) if (found := fault(words))] == []


def test_commands_are_found():
    assert len([words for page in PAGES for words in shown(page.read_text(encoding="utf-8"))]) > 80


@pytest.mark.parametrize(
    "line", ["    braidcheck gat", "$ braidcheck gate --lanes gpu", "`braidcheck history ad RUN`", "    braidcheck new"]
)
def test_what_is_planted_is_found(line):
    (words,) = shown(line)
    assert bool(fault(words)) == ("new" not in words)
