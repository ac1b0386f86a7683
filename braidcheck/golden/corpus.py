"""The corpus: the grammar's documents as a `datasets` table with a train and a held-out split."""

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING

from braidcheck.golden import grammar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datasets import Dataset

LONG_LIMITS = (2100, 2240)
BRIEF_LIMITS = (128, 136, 145, 155, 165, 180, 200, 225, 260, 350, 600) * 2
"""Token limits of the held-out documents."""
TRAIN_COUNT = 256


def documents(split: str = "heldout", count: int | None = None) -> "Iterator[grammar.Document]":
    """The documents of a split, in order; `count` cuts or, for the endless train split, sets their number.

    The held-out split is what the gate reads: two long documents, then 22 brief ones, about 9,600 tokens.
    Raises ValueError on an unknown split.
    """
    if split == "train":
        yield from (grammar.document(seed, "train") for seed in range(TRAIN_COUNT if count is None else count))
        return
    plan = [("long", limit) for limit in LONG_LIMITS] + [("brief", limit) for limit in BRIEF_LIMITS]
    for seed, (size, limit) in enumerate(plan[:count]):
        yield grammar.document(seed, split, size, limit)


def load(split: str = "heldout", count: int | None = None) -> "Dataset":
    """The split as an in-memory `datasets.Dataset`; nothing is written to disk.

    Columns: `text`, `nats` (-ln P(text)), `probes` (list of kind, start, end in characters, distance in tokens).
    """
    from datasets import Dataset

    rows = [asdict(document) for document in documents(split, count)]
    return Dataset.from_list([row | {"probes": list(row["probes"])} for row in rows])


def fingerprint(dataset: "Dataset") -> str:
    """SHA-256, in hex, over the texts in order: it changes when a text, their order or their borders do."""
    digest = hashlib.sha256()
    for text in dataset["text"]:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
