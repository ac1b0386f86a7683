"""A text of three short documents, and nano's golden on it."""

import pytest


@pytest.fixture(scope="session")
def text():
    """Three brief documents of the corpus."""
    from braidcheck.golden import corpus, texts

    rows = corpus.load("heldout", 5).select(range(2, 5))
    return texts.Text(rows, "three brief documents", corpus.fingerprint(rows), running=False)


@pytest.fixture(scope="session")
def nano():
    """nano's checkpoint directory."""
    from braidcheck.golden.resolve import NANO

    return NANO


@pytest.fixture(scope="session")
def recorded(text, nano, tmp_path_factory):
    """The directory of the golden of nano on ``text``; not to be changed."""
    from braidcheck.golden.record import record

    place = tmp_path_factory.mktemp("recorded") / "golden"
    record(nano, text, place, device="cpu", model_id="nano", command="braidcheck golden record nano")
    return place
