"""Evaluation texts: the corpus, wikitext, or a user's file, split into tokenised documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braidcheck.errors import NotAvailable, UserError
from braidcheck.golden import corpus

if TYPE_CHECKING:
    from datasets import Dataset

WIKITEXT = ("Salesforce/wikitext", "wikitext-2-raw-v1", "b08601e04326c79dfdd32d625aee71d232d685c3")
WIKITEXT_ORIGIN = f"{WIKITEXT[0]}/{WIKITEXT[1]}, test split, revision {WIKITEXT[2]}"
WINDOW = 1024
WINDOWS = 64
"""Running text is cut into windows; 64 of 1024 tokens bound a mean to a few percent and keep a golden small."""

READERS = {".txt": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class Span:
    """A probe in tokens: ``first`` to ``last`` (exclusive) are the answer, ``distance`` tokens after its source."""

    kind: str
    first: int
    last: int
    distance: int


@dataclass(frozen=True)
class Document:
    """One sequence: its token ids, -ln P of its text if a generator provides it, and its probes."""

    ids: tuple[int, ...]
    nats: float | None = None
    probes: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Text:
    """A `datasets` table with a ``text`` column; ``running`` text is joined and split, else each row is a document."""

    rows: Dataset
    origin: str
    fingerprint: str
    running: bool


def load_text(name: str | None = None) -> Text:
    """The text called ``name``: "corpus" (the default), "wikitext", or a path.

    A path is a directory that `Dataset.save_to_disk` wrote or a .txt, .jsonl, .json or .parquet file. A table with a
    ``probes`` column keeps its rows as documents, any other is running text. Raises UserError if there is no such text,
    NotAvailable if it cannot be fetched.
    """
    if find_spec("datasets") is None:
        raise NotAvailable("texts are read by the package `datasets`, which is not installed: pip install datasets")
    if name in (None, "corpus"):
        rows, origin = corpus.load("heldout"), "braidcheck corpus, held-out split"
    elif name == "wikitext":
        rows, origin = _wikitext(), WIKITEXT_ORIGIN
    else:
        rows, origin = _from_disk(Path(name)), f"file {Path(name).name}"
    if "text" not in rows.column_names or not any(rows["text"]):
        raise UserError(f"dataset {name} has no text: it needs a column `text`, it has {', '.join(rows.column_names)}")
    return Text(rows, origin, corpus.fingerprint(rows), "probes" not in rows.column_names)


def _wikitext() -> Dataset:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    path, name, revision = WIKITEXT
    try:
        return load_dataset(path, name, split="test", revision=revision)
    except (OSError, DatasetNotFoundError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise NotAvailable(
            f"wikitext cannot be fetched ({reason}): with a network, save its test split by "
            "Dataset.save_to_disk(DIR), then pass --dataset DIR"
        ) from None


def _from_disk(path: Path) -> Dataset:
    from datasets import DatasetDict, load_dataset, load_from_disk

    if not path.exists():
        raise UserError(f"no dataset {path}: give corpus, wikitext, or an existing file or directory")
    if path.is_file() and path.suffix not in READERS:
        raise UserError(f"cannot read {path}: give a {', '.join(READERS)} file or a saved dataset directory")
    try:
        if path.is_file():
            options: dict[str, str] = {"sample_by": "document"} if path.suffix == ".txt" else {}
            return load_dataset(READERS[path.suffix], data_files=str(path), split="train", **options)
        table = load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read dataset {path}: {str(error).splitlines()[0]}") from None
    if isinstance(table, DatasetDict):
        if "test" not in table:
            raise UserError(f"dataset {path} has splits {', '.join(table)}: save the one to evaluate separately")
        return table["test"]
    return table


def tokenise(text: Text, tokenizer: Any, limit: int) -> list[Document]:
    """The tokenised documents of ``text`` that have two tokens or more; of running text the first WINDOWS windows.
    Raises UserError if a document is longer than ``limit`` tokens."""
    documents = windows(text, tokenizer, limit)[:WINDOWS] if text.running else _rows(text, tokenizer)
    for number, document in enumerate(documents):
        if len(document.ids) > limit:
            raise UserError(f"document {number} has {len(document.ids)} tokens, the model takes {limit}: shorten it")
    return [document for document in documents if len(document.ids) > 1]


def windows(text: Text, tokenizer: Any, limit: int) -> list[Document]:
    """All of a running text in windows of WINDOW tokens, or of ``limit``; the last is the remainder."""
    lead = tokenizer("")["input_ids"]
    ids = tokenizer("\n\n".join(text.rows["text"]), add_special_tokens=False, verbose=False)["input_ids"]
    step = min(WINDOW, limit) - len(lead)
    return [Document((*lead, *ids[start : start + step])) for start in range(0, len(ids), step)]


def _rows(text: Text, tokenizer: Any) -> list[Document]:
    documents = []
    for row in text.rows:
        coded = tokenizer(row["text"], return_offsets_mapping=True, verbose=False)
        spans = tuple(_span(probe, coded["offset_mapping"]) for probe in row["probes"])
        documents.append(Document(tuple(coded["input_ids"]), row.get("nats"), spans))
    return documents


def _span(probe: Mapping[str, Any], offsets: list[tuple[int, int]]) -> Span:
    """A token belongs to the answer if it contains a character of it; special tokens contain none."""
    inside = [index for index, (start, end) in enumerate(offsets) if start < probe["end"] and end > probe["start"]]
    if not inside:
        raise UserError(f"probe {probe['start']}:{probe['end']} covers no token of its text: correct the dataset")
    return Span(probe["kind"], inside[0], inside[-1] + 1, probe["distance"])
