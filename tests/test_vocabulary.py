"""The project's words are the field's: what was renamed does not come back, in names, messages or documents."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("braidcheck", "tests", "tools", "docs", ".github")
KINDS = (".py", ".md", ".toml", ".yml", ".html")
# Each has the word that is written today.
RETIRED = {
    r"not[ _]judged|NOT_JUDGED": "skipped",
    r"\bCannotJudge\b": "NotAvailable",
    r"\bUnjudgeable\b": "InsufficientData",
    r"\bjudg(e|es|ed|ing)\b|_judge|judge_": "evaluate, oracle",
    r"\bobserve_": "measure",
    r"\bobservations?\b": "measurement",
    r"share of the bound": "error ratio",
    r"\bstock (PyTorch|torch)\b|\bstock_": "PyTorch baseline",
    r"\b(dis)?honest variants?\b": "equivalent implementation",
    r"\baccus(e|es|ed|ation|ing)\b|\bculprits?\b|\bguilty\b": "suspect ops",
    r"\bcomplaints?\b": "violation",
    r"\bknown killers?\b|\blikely killers?\b|\bkiller: ": "expected detector",
    r"\bthe wall\b(?![ -]clock)|\bof_wall\b": "roofline",
    r"matrix[ _]rate": "GEMM peak",
    r"\btaking turns\b|\b(timed|base|trees) in turns\b": "interleaved rounds",
    r"\bpeers?\b|\brivals?\b": "baseline",
    r"\b(FEWEST|MOST|LEAST)_(?!SPLITS)|\bENOUGH\b|\bDEEPEST\b": "MIN_, MAX_ and the unit",
    r"\bPATIENCE\b": "grace period, timeout",
    r"\bTrouble\b": "WorkerError",
    r"\bput_in\b": "inject_slowdown",
    r"\bmoment\(": "timestamp",
    r"\bfor programs\b": "machine-readable output",
    r"\bwrong call\b": "usage error",
    r"\bneeds? a human\b": "requires maintainer approval",
    r"\bbroken promises\b": "contract violations",
    r"\bstrangers\b": "untrusted input",
    r"\bspoilers?\b": "negative control",
    r"\banew\b": "again",
    r"\blest\b": "so that ... not",
    r"\b(nats|tokens|bytes) a (token|second)\b": "per",
    r"\bthat (is|are) not ours\b|\bsomebody else's\b": "a user's",
    r"\bways? of asking\b": "surface",
    r"\bto blame for what\b": "suspect op",
    r"\bis no (JSON|TOML|CSV|pytest|kill matrix|checkpoint|golden|shard)\b": "is not a valid ...",
}
# Files that must say an old word, and which.
ALLOWED = {
    # They read what was written then.
    "braidcheck/format_1.py": {"skipped", "evaluate, oracle", "error ratio", "PyTorch baseline", "GEMM peak"},
    "tests/test_format_1.py": {"skipped", "evaluate, oracle", "error ratio", "PyTorch baseline"},
    # They name what was renamed.
    "tests/test_vocabulary.py": set(RETIRED.values()),
    "CHANGELOG.md": set(RETIRED.values()),
}
GENERATED = ("docs/results", "docs/sample", "docs/history", "braidcheck/golden/nano")


def files():
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")] + list(ROOT.glob("*"))
    names = {path.relative_to(ROOT).as_posix(): path for path in found if path.suffix in KINDS}
    return {name: path for name, path in names.items() if not name.startswith(GENERATED)}


def spaced(pattern):
    """The pattern with any white space between its words: a line may end there."""
    return pattern.replace(" ", r"\s+")


def retired(name, text):
    """Line number and text of each retired word, and what is written instead."""
    for pattern, instead in RETIRED.items():
        if instead not in ALLOWED.get(name, ()):
            for found in re.finditer(spaced(pattern), text):
                line = text.count("\n", 0, found.start()) + 1
                yield f"{name}:{line}: {found[0]!r} is {instead!r} today"


TEXTS = {name: path.read_text(encoding="utf-8") for name, path in files().items()}


def test_package_tests_and_documents_are_read():
    assert {"braidcheck/result.py", "tests/test_result.py", "README.md", ".github/workflows/gate.yml"} <= TEXTS.keys()


@pytest.mark.parametrize("part", sorted({name.partition("/")[0] for name in TEXTS}))
def test_no_retired_word(part):
    found = [line for name, text in TEXTS.items() if name.partition("/")[0] == part for line in retired(name, text)]
    assert found == []


@pytest.mark.parametrize(
    "planted",
    [
        "status = NOT_JUDGED",
        "def observe_op(",
        "# lest it fails",
        "MOST_NAMES = 3",
        '"needs a human"',
        "peers = 1",
        "spoilers={}",
        "80 tokens a second",
        "# an engine that is not ours",
    ],
)
def test_a_retired_word_is_found(planted):
    assert list(retired("braidcheck/result.py", planted))


def test_allowed_words_are_used():
    for name in ("braidcheck/format_1.py", "tests/test_format_1.py"):
        assert ALLOWED[name] == {instead for old, instead in RETIRED.items() if re.search(spaced(old), TEXTS[name])}
