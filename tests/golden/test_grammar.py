"""The grammar against an independent reading of its texts: what they cost, and what they determine."""

import hashlib
import math
import re
from collections import Counter

import pytest

from braidcheck.golden import grammar

DOCUMENTS = [grammar.document(seed, "heldout") for seed in range(40)]
CLOSERS = {"(": ")", "[": "]", "{": "}", "<": ">"}
LINE_CHANCES = {"get": 0.36, "reset": 0.12, "calc": 0.15, "nest": 0.15, "tale": 0.17, "sign": 0.05}
NAME = math.log(32) * 2
VALUE = math.log(20 * 10 * 20)


def nest_nats(brackets):
    """Price of a bracket line, by walking it."""
    depth, nats = 1, math.log(4)
    for sign in brackets[1 : brackets.index("|")]:
        chances = {"open": 0.75} if depth == 1 else {"open": 0.45, "close": 0.3}
        step = "open" if sign in CLOSERS else "close"
        nats += -math.log(chances[step]) + (math.log(4) if step == "open" else 0)
        depth += 1 if step == "open" else -1
    return nats - math.log(0.25)


def text_nats(text):
    """-ln P of a text, read from the text alone and with numbers written down here a second time."""
    header, *lines = text.splitlines()
    size = header.split()[0]
    side, animals = {"brief": (3, 4), "long": (8, 8)}[size]
    nats = -math.log({"brief": 0.75, "long": 0.25}[size]) + NAME + side * animals * VALUE
    nats += sum(math.log(64 - n) for n in range(side)) + sum(math.log(64 - n) for n in range(animals))
    for line in lines[side * animals :]:
        verb, rest = line.split(" ", 1)
        if verb == "then":
            continue
        nats -= math.log(LINE_CHANCES[verb])
        nats += {
            "get": math.log(side * animals),
            "reset": math.log(side * animals) + VALUE,
            "calc": math.log(10_000),
            "sign": 0.0,
            "tale": math.log(4) + 2 * NAME + math.log(8 * 32),
        }.get(verb) or (nest_nats(rest) if verb == "nest" else 0.0)
    return nats


def solve(kind, before):
    """The answer that `before`, the text up to a probe, determines."""
    line = before.rsplit("\n", 1)[-1]
    if kind in ("recall", "overwrite"):
        key = re.fullmatch(r"get (\w+ \w+) \? ", line)[1]
        return re.findall(rf"set {key} = (\w+)\n", before)[-1]
    if kind == "arithmetic":
        left, right = re.fullmatch(r"calc (\d\d)\+(\d\d)=", line).groups()
        return str(int(left) + int(right)).zfill(3)
    if kind == "brackets":
        left = line.removeprefix("nest ").removesuffix("|")
        while (shorter := re.sub(r"\(\)|\[\]|\{\}|<>", "", left)) != left:
            left = shorter
        return "".join(CLOSERS[sign] for sign in reversed(left)) + "\n"
    if line == "sign ":
        return before.splitlines()[0].split()[-1]
    asker, asked, thing = re.findall(r"tale (\S+) \w+ (\S+) for the (\w+ \w+)\.\n", before)[-1]
    return {"then": asked, "the": thing}.get(line.split()[-1], asker)


def test_texts_are_the_same_everywhere():
    """Guards every recorded golden: a change of the grammar changes this hash on purpose or not at all."""
    digest = hashlib.sha256("".join(document.text for document in DOCUMENTS).encode()).hexdigest()
    assert digest == "b153da4fc6427895e50148d983bd9c7d32b1079f52d785b4124d4984812ffe8b"
    assert grammar.document(7) == grammar.document(7)


@pytest.mark.parametrize("size", ["brief", "long"])
def test_nats_are_what_an_independent_reading_gives(size):
    for seed in range(20):
        document = grammar.document(seed, "train", size)
        assert document.text.startswith(size)
        found = text_nats(document.text)
        # Two sums, each of at most one term a character, each term and sum rounded in float64.
        assert document.nats == pytest.approx(found, rel=2 * len(document.text) * 2.0**-53)


@pytest.mark.parametrize("chances", [grammar.SIZES, grammar.LINES, grammar.SHALLOW, grammar.NESTED])
def test_chances_sum_to_one(chances):
    assert sum(chances.values()) == pytest.approx(1, abs=2 * len(chances) * 2.0**-53)


def test_lines_come_as_often_as_they_are_priced():
    texts = [grammar.document(seed, "train", "brief", 4000).text for seed in range(25)]
    verbs = Counter(re.findall(r"^(get|reset|calc|nest|tale|sign) ", "".join(texts), re.M))
    total = verbs.total()
    for verb, chance in LINE_CHANCES.items():  # 4.5 standard deviations: 7e-6 of honest counts are further off
        assert verbs[verb] / total == pytest.approx(chance, abs=4.5 * math.sqrt(chance * (1 - chance) / total))


def test_bracket_lines_come_as_often_as_they_are_priced():
    texts = "".join(grammar.document(seed, "train", "brief", 4000).text for seed in range(25))
    lines = Counter(re.findall(r"^nest (\S+)$", texts, re.M))
    total = lines.total()
    for line, count in lines.most_common(12):
        chance = math.exp(-nest_nats(line))
        assert count / total == pytest.approx(chance, abs=4.5 * math.sqrt(chance * (1 - chance) / total))


def test_choices_are_uniform():
    texts = "".join(grammar.document(seed, "train", "long", 10).text for seed in range(100))
    for letters, count in ((re.findall(r"= (\w)", texts), 20), (re.findall(r"= \w(\d)", texts), 10)):
        found = Counter(letters)
        assert len(found) == count
        expected = len(letters) / count
        assert sum((n - expected) ** 2 / expected for n in found.values()) < 3 * count


def test_every_answer_follows_from_the_text_before_it():
    seen = Counter()
    for document in DOCUMENTS:
        for probe in document.probes:
            seen[probe.kind] += 1
            assert document.text[probe.start : probe.end] == solve(probe.kind, document.text[: probe.start])
    assert set(seen) == set(grammar.KINDS)
    assert min(seen.values()) >= 50


def test_recall_reaches_back_two_thousand_tokens():
    far = [probe.distance for seed in range(12) for probe in grammar.document(seed, "train", "long").probes
           if probe.kind == "recall"]  # fmt: skip
    assert max(far) > 1900
    assert sum(distance > 1000 for distance in far) > 50
    assert min(far) < 50


def test_distance_counts_tokens_to_the_latest_statement():
    text = DOCUMENTS[0].text
    for probe in DOCUMENTS[0].probes:
        if probe.kind in ("recall", "overwrite"):
            answer = text[probe.start : probe.end]
            source = text.rindex(f" {answer}\n", 0, probe.start - 1) + 1
            assert probe.distance == len(re.findall(grammar.PIECE, text[source - 1 : probe.start - 1]))


def test_length_follows_the_limit():
    for size, limit in (("brief", 200), ("long", 2100)):
        tokens = len(re.findall(grammar.PIECE, grammar.document(3, "train", size, limit).text))
        assert limit <= tokens < limit + 80


def test_splits_share_no_document_and_no_statement():
    train, heldout = ({grammar.document(seed, split).text for seed in range(40)} for split in grammar.SPLITS)
    assert not train & heldout
    stated = [{line for text in texts for line in re.findall(r"^set .*$", text, re.M)} for texts in (train, heldout)]
    assert not stated[0] & stated[1]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="split 'test' is not one of train, heldout"):
        grammar.document(0, "test")
    with pytest.raises(ValueError, match="size 'huge' is not one of brief, long"):
        grammar.document(0, size="huge")
