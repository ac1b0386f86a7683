"""Goldens on disk: a manifest and a safetensors file, opened only after every hash has been checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from braidcheck.errors import CheckpointError, GoldenError
from braidcheck.golden.provenance import implausible, unlike
from braidcheck.golden.readings import Readings, Samples, noise

FORMAT = 1
MANIFEST = "manifest.json"
TENSORS = "golden.safetensors"
CHECKPOINT_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "vocab.json",
    "merges.txt",
)
SHA256_DIGITS = 64
RUNS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Continuation:
    """HF's greedy float32 answer to the first ``prompt`` tokens of a document.

    ``ids`` [n]; ``margin`` [n] between its best two logits; ``noise`` [n] largest error of HF bfloat16's logits.
    """

    document: int
    prompt: int
    ids: tuple[int, ...]
    margin: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Probe:
    """Tokens ``first`` to ``last`` (exclusive) of a document follow from text ``distance`` tokens earlier."""

    document: int
    kind: str
    first: int
    last: int
    distance: int


@dataclass(frozen=True)
class GoldenDocument:
    """One document: ids [T] int64, HF's readings in float32 (``truth``) and bfloat16 (``floor``), and the sampled
    positions."""

    ids: Tensor
    top_ids: Tensor
    truth: Readings
    floor: Readings
    samples: Samples


@dataclass(frozen=True)
class Golden:
    """HF transformers' outputs on one text, with provenance in ``manifest``."""

    manifest: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def model(self) -> str:
        """The model's name."""
        return self.manifest["model"]["id"]

    def __len__(self) -> int:
        """Number of documents."""
        return self.manifest["documents"]

    def document(self, number: int) -> GoldenDocument:
        """Document ``number``."""
        part = self._cut("offsets", number)
        sample, full = self._cut("sample_offsets", number), self._cut("full_offsets", number)
        of = self.tensors
        samples = Samples(of["samples"][sample].long(), of["full_positions"][full].long(), of["projection"])
        truth, floor = (self._readings(run, number, part, sample, full) for run in RUNS)
        return GoldenDocument(of["ids"][part].long(), of["top_ids"][part].long(), truth, floor, samples)

    def _readings(self, run: str, number: int, part: slice, sample: slice, full: slice) -> Readings:
        cuts = {"nll": slice(part.start - number, part.stop - number - 1), "full": full}
        values = {name: self.tensors[f"{name}.{run}"] for name in Readings.__dataclass_fields__}
        for name, value in values.items():
            if name in ("hidden", "norm"):
                values[name] = value[:, sample]
            else:
                values[name] = value[..., sample] if name == "entropy" else value[cuts.get(name, part)]
        return Readings(**values)

    def _cut(self, offsets: str, number: int) -> slice:
        start, stop = self.tensors[offsets][number : number + 2].tolist()
        return slice(start, stop)

    @property
    def typical_noise(self) -> float:
        """The value that bfloat16's largest logit error exceeds at one position in 20; at single positions it may be
        near 0 by chance."""
        return typical_noise(self.tensors["top.float32"], self.tensors["top.bfloat16"])

    def continuations(self) -> list[Continuation]:
        """The recorded greedy answers."""
        continuations = []
        for number, (document, prompt) in enumerate(self.tensors["prompts"].tolist()):
            cut = self._cut("greedy_offsets", number)
            ids, margin, noise = (self.tensors[f"greedy_{name}"][cut] for name in ("ids", "margin", "noise"))
            continuations.append(Continuation(document, prompt, tuple(ids.tolist()), margin, noise))
        return continuations

    def probes(self) -> list[Probe]:
        """The positions whose text earlier text determines."""
        kinds = self.manifest["probe_kinds"]
        rows = self.tensors["probes"].tolist()
        return [Probe(document, kinds[kind], *span) for document, kind, *span in rows]


def load(path: Path | str) -> Golden:
    """The golden in the directory ``path``.

    Raises GoldenError if it is damaged, of another format, or not HF's output in float32 and bfloat16.
    """
    from safetensors.torch import load as parse

    manifest = _manifest(Path(path))
    data = _read(Path(path), TENSORS)
    if hashlib.sha256(data).hexdigest() != manifest["golden"]["sha256"]:
        raise GoldenError(f"golden {path}: {TENSORS} was changed after recording (sha256 differs): record it again")
    golden = Golden(manifest, parse(data))
    if why := unlike(manifest["runs"]) or implausible(golden.tensors):
        raise GoldenError(f"golden {path} is not HF's answer: {why}; record it again")
    return golden


def verify(path: Path | str, checkpoint_dir: Path | str | None = None, corpus_fingerprint: str | None = None) -> Golden:
    """``load``, and compare the golden with a checkpoint's files and a text's fingerprint if given.

    Raises GoldenError with the reason in one line.
    """
    golden = load(path)
    if checkpoint_dir is not None:
        recorded, present = golden.manifest["model"]["files"], checkpoint_files(Path(checkpoint_dir))
        for name in sorted(recorded.keys() | present.keys()):
            if recorded.get(name) != present.get(name):
                how = "is missing" if name not in present else "is new" if name not in recorded else "differs"
                raise GoldenError(f"golden {path} is of another checkpoint: {name} {how}; record it again")
    if corpus_fingerprint is not None and corpus_fingerprint != golden.manifest["corpus"]["fingerprint"]:
        origin = golden.manifest["corpus"]["origin"]
        raise GoldenError(f"golden {path} is of another text ({origin}, fingerprint differs): record it again")
    return golden


def typical_noise(truth: Tensor, floor: Tensor) -> float:
    """95% quantile over positions of bfloat16's largest error in logits [N, 64]."""
    ordered = noise(truth, floor).sort().values
    return float(ordered[int(0.95 * (len(ordered) - 1))])


def _manifest(path: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads(_read(path, MANIFEST))
    except (ValueError, RecursionError):
        raise GoldenError(f"golden {path}: {MANIFEST} is not JSON: record it again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        version = manifest.get("format") if isinstance(manifest, dict) else None
        raise GoldenError(f"golden {path} has format {version}, this braidcheck reads {FORMAT}: record it again")
    if manifest.get("digest") != digest(manifest):
        raise GoldenError(f"golden {path}: {MANIFEST} was changed after recording (digest differs): record it again")
    return manifest


def _read(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise GoldenError(f"no golden in {path}: {name}: {error.strerror}") from None


def digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest without its own ``digest``."""
    body = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_files(checkpoint_dir: Path) -> dict[str, str]:
    """SHA-256 by file name of the weights, configuration and tokenizer of a checkpoint directory.

    Raises CheckpointError if the weights in the hub's cache differ from the hub's.
    """
    paths = {path for pattern in CHECKPOINT_FILES for path in checkpoint_dir.glob(pattern) if path.is_file()}
    hashes = {path.name: file_sha256(path) for path in sorted(paths)}
    for path in paths:
        # In that cache a weights file is a link to a file named by its hash.
        blob = path.resolve()
        if path.is_symlink() and len(blob.name) == SHA256_DIGITS and blob.name != hashes[path.name]:
            raise CheckpointError(f"{blob} differs from the hub's {path.name}: delete it and try again")
    return hashes
