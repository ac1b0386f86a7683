"""The corpus as the gate reads it."""

import math

import pytest

from braidcheck.golden import corpus, grammar

FINGERPRINT = "9151113da05a18021e91bba29fbc774459641f46e3610be4083045df1ee8dc40"


@pytest.fixture(scope="module")
def heldout():
    return corpus.load()


def test_heldout_split_is_pinned(heldout):
    """Every golden is recorded on these very texts."""
    assert corpus.fingerprint(heldout) == FINGERPRINT
    assert len(heldout) == 24


def test_columns_hold_the_documents(heldout):
    assert heldout.column_names == ["text", "nats", "probes"]
    for row, document in zip(heldout, corpus.documents("heldout"), strict=True):
        assert (row["text"], row["nats"]) == (document.text, document.nats)
        assert [grammar.Probe(**probe) for probe in row["probes"]] == list(document.probes)


def test_heldout_split_is_large_enough(heldout):
    tokens = [len(grammar._piece.findall(text)) for text in heldout["text"]]
    assert 8_000 < sum(tokens) < 10_000
    assert sum(2_000 <= count <= 2_300 for count in tokens) == 2
    assert 0.8 < sum(heldout["nats"]) / sum(tokens) < 1.5
    probes = [probe for row in heldout for probe in row["probes"]]
    assert max(probe["distance"] for probe in probes if probe["kind"] == "recall") > 1_900
    for kind in grammar.KINDS:
        assert sum(probe["kind"] == kind for probe in probes) >= 30


def test_fingerprint_sees_text_order_and_borders():
    from datasets import Dataset

    prints = {corpus.fingerprint(Dataset.from_list([{"text": text} for text in texts])) for texts in
              (["ab", "c"], ["a", "bc"], ["c", "ab"], ["ab", "d"], ["abc"])}  # fmt: skip
    assert len(prints) == 5


def test_train_split_differs_and_takes_a_count(heldout):
    train = corpus.load("train", count=5)
    assert len(train) == 5
    assert not set(train["text"]) & set(heldout["text"])
    assert all(math.isfinite(nats) for nats in train["nats"])


def test_nothing_is_written(heldout):
    assert heldout.cache_files == []


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split 'dev'"):
        corpus.load("dev")
