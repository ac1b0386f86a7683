"""Records a golden: HF transformers in float32 and in bfloat16 over a text, written whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from math import exp
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from braidcheck.errors import UserError
from braidcheck.golden import published, store
from braidcheck.golden.hf import Reference, load_reference, load_tokenizer
from braidcheck.golden.provenance import provenance
from braidcheck.golden.readings import DIGEST, TOP, Readings, Samples, margin, noise
from braidcheck.golden.texts import Document, Text, tokenise

PROMPTS = 2
NEW_TOKENS = 20
MAX_PROMPT_TOKENS = 384
"""Few and short greedy answers: one token takes Triton's interpreter most of a second."""

MARGIN_SIGMA = 2.0
"""Two logits, each off by bfloat16's worst error, can swap only within twice that error."""

FULL_BYTES = 512 * 1024
MIN_FULL_POSITIONS = 8


def record(
    checkpoint_dir: Path | str,
    corpus: Text,
    out_dir: Path | str,
    device: str | None = None,
    revision: str | None = None,
    model_id: str | None = None,
    command: str = "",
    progress: Callable[[str], None] | None = None,
) -> store.Golden:
    """Run HF over ``corpus`` and leave the golden in ``out_dir``, replacing the golden there.

    ``device`` defaults to the GPU if there is one. Raises CheckpointError; GoldenError if the models are not HF's own,
    or their perplexity is not the published one; UserError if ``out_dir`` contains something else. An interrupted call
    leaves nothing behind.
    """
    checkpoint, out = Path(checkpoint_dir), Path(out_dir)
    if out.exists() and not (out / store.MANIFEST).is_file():
        raise UserError(f"{out} exists and is not a golden: give an empty folder")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    name = model_id or checkpoint.resolve().name
    files = store.checkpoint_files(checkpoint)
    runs = [load_reference(checkpoint, getattr(torch, run), device) for run in store.RUNS]
    origin = provenance([run.model for run in runs], device)
    tokenizer = load_tokenizer(checkpoint)
    documents = tokenise(corpus, tokenizer, runs[0].max_tokens)
    say = progress or (lambda _line: None)
    figure = published.of(name, corpus.origin)
    known = {"published": published.check(figure, runs[1], corpus, tokenizer, say)} if figure else {}
    tensors = _tensors(runs, documents, say)
    manifest = {
        "format": store.FORMAT,
        "model": {"id": name, "revision": revision, "files": files},
        "corpus": {"origin": corpus.origin, "fingerprint": corpus.fingerprint},
        "documents": len(documents),
        "tokens": sum(len(document.ids) for document in documents),
        "probe_kinds": _kinds(documents),
        "perplexity": _perplexities(tensors, documents),
        **known,
        "runs": origin,
        "versions": {package: version(package) for package in ("torch", "transformers", "tokenizers", "datasets")}
        | {"python": platform.python_version()},
        "command": command or f"braidcheck golden record {name}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return _write(out, manifest, tensors)


def _id_dtype(vocabulary: int) -> torch.dtype:
    """The smallest type that holds the ids below ``vocabulary``."""
    return torch.int16 if vocabulary <= torch.iinfo(torch.int16).max + 1 else torch.int32


def _tensors(runs: list[Reference], documents: list[Document], say: Callable[[str], None]) -> dict[str, Tensor]:
    config = runs[0].config
    projection = torch.randn(config.hidden_size, DIGEST, generator=torch.Generator().manual_seed(0)) / DIGEST**0.5
    samples = _samples([len(document.ids) for document in documents], config.vocab_size, projection)
    best, readings = [], []
    for number, (document, sample) in enumerate(zip(documents, samples, strict=True)):
        say(f"golden: document {number + 1} of {len(documents)}, {len(document.ids)} tokens")
        ids = torch.tensor(document.ids)
        truth, top_ids = runs[0].read(ids, sample)
        floor, _ = runs[1].read(ids, sample, top_ids)
        best.append(top_ids)
        readings.append((truth, floor))
    small = _id_dtype(config.vocab_size)
    return {
        "ids": torch.tensor([id for document in documents for id in document.ids], dtype=small),
        "offsets": _offsets(len(document.ids) for document in documents),
        "top_ids": torch.cat(best).to(small),
        "samples": torch.cat([sample.positions for sample in samples]).int(),
        "sample_offsets": _offsets(len(sample.positions) for sample in samples),
        "full_positions": torch.cat([sample.full for sample in samples]).int(),
        "full_offsets": _offsets(len(sample.full) for sample in samples),
        "projection": projection,
        "probes": _probes(documents),
        **_joined(readings),
        **_greedy(runs, documents, [_surest(*each) for each in zip(documents, readings, strict=True)], say),
    }


def _samples(lengths: list[int], vocabulary: int, projection: Tensor) -> list[Samples]:
    """Four to 32 positions of each document, including the last; full logits at as many as a small file allows."""
    places = []
    for length in lengths:
        count = min(length, max(4, min(32, length // 64)))
        places.append(torch.tensor([(step + 1) * length // count - 1 for step in range(count)]))
    total = sum(map(len, places))
    # Six bytes a logit: float32 and bfloat16.
    stride = max(1, -(-total // max(MIN_FULL_POSITIONS, FULL_BYTES // (6 * vocabulary))))
    chosen = torch.arange(total) % stride == stride - 1
    full = chosen.split([len(place) for place in places])
    return [Samples(place, place[keep], projection) for place, keep in zip(places, full, strict=True)]


def _joined(readings: list[tuple[Readings, Readings]]) -> dict[str, Tensor]:
    """All documents' readings concatenated: samples are axis 1 of hidden states and the last axis of entropy."""
    axes = {"hidden": 1, "norm": 1, "entropy": -1}
    return {
        f"{name}.{run}": torch.cat([getattr(pair[index], name) for pair in readings], dim=axes.get(name, 0))
        for index, run in enumerate(store.RUNS)
        for name in Readings.__dataclass_fields__
    }


def _offsets(lengths: Iterator[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def _kinds(documents: list[Document]) -> list[str]:
    return sorted({span.kind for document in documents for span in document.probes})


def _probes(documents: list[Document]) -> Tensor:
    kinds = _kinds(documents)
    rows = [
        (number, kinds.index(span.kind), span.first, span.last, span.distance)
        for number, document in enumerate(documents)
        for span in document.probes
    ]
    return torch.tensor(rows, dtype=torch.int32).reshape(-1, 5)


def _surest(document: Document, readings: tuple[Readings, Readings]) -> tuple[int, int]:
    """Length of the longest run of tokens that HF predicts with certainty, and of the prompt before it."""
    truth, floor = readings
    doubt = MARGIN_SIGMA * noise(truth.top, floor.top).clamp_min(store.typical_noise(truth.top, floor.top))
    sure = (margin(truth) > doubt)[:-1] & (truth.argmax[:-1] == torch.tensor(document.ids[1:]))
    best, start = (0, 1), 0
    for place, good in enumerate([*sure.tolist(), False]):
        if not good:
            best = max(best, (place - start, start + 1)) if start < MAX_PROMPT_TOKENS else best
            start = place + 1
    return best


def _greedy(
    runs: list[Reference], documents: list[Document], surest: list[tuple[int, int]], say: Callable[[str], None]
) -> dict[str, Tensor]:
    """Greedy float32 answers where HF is sure for longest, with their margins and bfloat16's error at each step."""
    prompts, answers, margins, noises = [], [], [], []
    for number in sorted(range(len(documents)), key=lambda at: surest[at], reverse=True)[:PROMPTS]:
        prompt = surest[number][1]
        say(f"golden: greedy answer to {prompt} tokens of document {number + 1}")
        ids = torch.tensor(documents[number].ids[:prompt])
        answer = runs[0].generate(ids, NEW_TOKENS)
        whole = torch.cat([ids, torch.tensor(answer)])
        truth, floor = (run.logits(whole)[prompt - 1 : -1].float() for run in runs)
        best = truth.topk(min(TOP, truth.shape[-1]), dim=-1)
        prompts.append((number, prompt))
        answers.append(answer)
        margins.append((best.values[:, 0] - best.values[:, 1]).cpu())
        noises.append(noise(best.values, floor.gather(1, best.indices)).cpu())
    return {
        "prompts": torch.tensor(prompts, dtype=torch.int32),
        "greedy_ids": torch.tensor([id for answer in answers for id in answer], dtype=torch.int32),
        "greedy_offsets": _offsets(map(len, answers)),
        "greedy_margin": torch.cat(margins),
        "greedy_noise": torch.cat(noises),
    }


def _perplexities(tensors: dict[str, Tensor], documents: list[Document]) -> dict[str, float | None]:
    """HF's own of both runs, and the generator's, where every document states its -ln P."""
    perplexities: dict[str, float | None] = {run: exp(tensors[f"nll.{run}"].double().mean()) for run in store.RUNS}
    nats = [document.nats for document in documents if document.nats is not None]
    scored = sum(len(document.ids) - 1 for document in documents)
    return perplexities | {"generator": None if len(nats) < len(documents) else exp(sum(nats) / scored)}


def _write(out: Path, manifest: dict[str, Any], tensors: dict[str, Tensor]) -> store.Golden:
    from safetensors.torch import save

    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with _whole_directory(out) as place:
        (place / store.TENSORS).write_bytes(save(tensors))
        manifest["golden"] = {"sha256": store.file_sha256(place / store.TENSORS)}
        # Through JSON and back, so that the returned and hashed value is what a reader gets.
        manifest = json.loads(json.dumps(manifest))
        manifest["digest"] = store.digest(manifest)
        (place / store.MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return store.Golden(manifest, tensors)


@contextmanager
def _whole_directory(out: Path) -> Iterator[Path]:
    """A new directory that replaces ``out`` on success, and is removed otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        place = Path(scratch) / "new"
        place.mkdir()
        yield place
        if out.exists():
            os.rename(out, Path(scratch) / "old")
        os.rename(place, out)
