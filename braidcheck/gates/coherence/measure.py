"""Runs a model on a golden's documents and records, as plain data, its distance from HF's answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from braidcheck.gates.coherence.evidence import (
    Causality,
    Column,
    Continuation,
    Document,
    Entropy,
    Evidence,
    Hidden,
)
from braidcheck.gates.coherence.evidence import Probe as ProbeRow
from braidcheck.golden.readings import Readings, Tracer, first_argmax, margin, noise, read_logits
from braidcheck.golden.store import Golden, GoldenDocument, Probe
from braidcheck.golden.subset import Subset

FORMAT = 1
CAUSAL_LENGTH = 144
CAUSAL_CHANGES = (16, 64, 65, 128)
"""First changed token of each causality run: inside a block, and on both sides of the block borders 64 and 128."""


PARTS = ("documents", "causality", "continuations")


class Engine(Protocol):
    """The engine under test: a causal language model with prefill and greedy decoding."""

    def forward_logits(self, ids: Tensor, trace: Callable[[int, str, Tensor], None] | None = None) -> Tensor:
        """Logits [T, V] float32 of one document ids [T] int64.

        ``trace(layer, name, tensor)`` is called with "hidden" (residual stream after the layer, [T, H]), "q"
        [T, Hq, D] and "k" [T, Hkv, D] after norm and RoPE.
        """

    def generate(self, ids: Tensor, max_new_tokens: int) -> Sequence[Any]:
        """Greedy tokens after ids [T], with a KV cache."""


def measure_coherence(
    engine: Engine,
    golden: Golden | Subset,
    progress: Callable[[str], None] | None = None,
    parts: Collection[str] = PARTS,
) -> Evidence:
    """Evidence for the coherence gate: a dict of plain JSON values. One prefill per document, five short ones for
    causality, one greedy answer and its prefill per recorded answer; only the requested ``parts``, the others' keys are
    absent. Numbers that are not finite become None. Raises ValueError if the engine violates its interface.
    """
    say = progress or (lambda _line: None)
    evidence: Evidence = {
        "format": FORMAT,
        "model": golden.model,
        "golden": golden.manifest["golden"]["sha256"],
        "generator_perplexity": golden.manifest["perplexity"]["generator"],
    }
    if "documents" in parts:
        evidence |= _documents(engine, golden, say)
    if "causality" in parts:
        say("coherence: causality")
        evidence["causality"] = _causality(engine, golden.document(0).ids)
    if "continuations" in parts:
        evidence["continuations"] = _continuations(engine, golden, say)
    return evidence


def _documents(engine: Engine, golden: Golden | Subset, say: Callable[[str], None]) -> Evidence:
    """The evidence of one prefill per document."""
    recorded, typical = golden.probes(), golden.typical_noise
    texts = [golden.document(number) for number in range(len(golden))]
    documents: list[Document] = []
    looks: list[tuple[GoldenDocument, Readings]] = []
    probes: list[ProbeRow] = []
    done, tokens = 0, sum(len(document.ids) for document in texts)
    for number, document in enumerate(texts):
        say(f"coherence: token {done + 1} of {tokens}, document {number + 1}")  # the time left is estimated by tokens
        done += len(document.ids)
        seen = _read(engine, document)
        documents.append(_document(document, seen, typical))
        looks.append((document, seen))
        probes += [probe_row(probe, document, seen) for probe in recorded if probe.document == number]
    return {"documents": documents, "hidden": hidden_errors(looks), "entropy": entropy_errors(looks), "probes": probes}


def _read(engine: Engine, document: GoldenDocument) -> Readings:
    tracer = Tracer(document.samples)
    logits = engine.forward_logits(document.ids, trace=tracer)
    expected = (len(document.ids), document.truth.full.shape[-1])
    if tuple(logits.shape) != expected or logits.dtype != torch.float32:
        raise ValueError(
            f"forward_logits must return float32 logits {expected}, it returned {logits.dtype} {tuple(logits.shape)}"
        )
    return Readings(**read_logits(logits, document.ids, document.top_ids, document.samples.full), **tracer.stacked())


def kl(truth: Readings, other: Readings) -> Tensor:
    """KL(truth, other) [T] in nats over the golden's 64 ids, with all other ids as one more outcome."""

    def log_probabilities(run: Readings) -> Tensor:
        return torch.cat([run.top.double(), run.tail.double()[:, None]], dim=-1) - run.lse.double()[:, None]

    expected, inputs = log_probabilities(truth), log_probabilities(other)
    return (expected.exp() * (expected - inputs)).sum(dim=-1)


def _document(document: GoldenDocument, seen: Readings, typical: float) -> Document:
    """Per-token lists of one document; certainty is HF's margin over bfloat16's error, local or typical, whichever is
    larger."""
    truth, floor = document.truth, document.floor
    doubt = noise(truth.top, floor.top).clamp_min(typical)
    return {
        "tokens": len(document.ids),
        "kl": metrics(kl(truth, seen)),
        "kl_floor": metrics(kl(truth, floor)),
        "nll": metrics(seen.nll),
        "nll_truth": metrics(truth.nll),
        "nll_floor": metrics(floor.nll),
        "certainty": metrics(margin(truth) / doubt),
        "flips": (seen.argmax != truth.argmax).nonzero()[:, 0].tolist(),
        "logit_error": metrics(spread(seen.full - truth.full)),
        "logit_error_floor": metrics(spread(floor.full.float() - truth.full)),
    }


def spread(error: Tensor) -> Tensor:
    """Standard deviation over the vocabulary [F]: a shift common to all logits changes no probability."""
    return error.double().std(dim=-1, correction=0)


def probe_row(probe: Probe, document: GoldenDocument, seen: Readings) -> ProbeRow:
    """Kind, distance, and whether HF float32, HF bfloat16 and the engine predict every token of the answer."""
    answer, before = document.ids[probe.first : probe.last], slice(probe.first - 1, probe.last - 1)
    truth, floor, engine = (
        torch.equal(run.argmax[before].long(), answer) for run in (document.truth, document.floor, seen)
    )
    return probe.kind, probe.distance, truth, floor, engine


def hidden_errors(looks: list[tuple[GoldenDocument, Readings]]) -> Hidden:
    """Root mean square, over all samples, of the digests' error relative to the hidden state's norm, by layer."""

    def error(of: Callable[[GoldenDocument, Readings], Readings]) -> Column:
        relative = [(of(d, s).hidden - d.truth.hidden).norm(dim=-1) / d.truth.norm for d, s in looks]
        return metrics(torch.cat(relative, dim=1).pow(2).mean(dim=1).sqrt())

    return {"engine": error(lambda _document, seen: seen), "floor": error(lambda document, _seen: document.floor)}


def entropy_errors(looks: list[tuple[GoldenDocument, Readings]]) -> Entropy:
    """Attention entropy by layer and head: HF float32's mean, the engine's mean, mean distance of both runs from it.

    Empty if the engine does not expose Q.
    """
    if not any(seen.entropy.numel() for _, seen in looks):
        return {}
    truth = torch.cat([document.truth.entropy for document, _ in looks], dim=-1)
    floor = torch.cat([document.floor.entropy for document, _ in looks], dim=-1)
    engine = torch.cat([seen.entropy for _, seen in looks], dim=-1)

    def by_layer(table: Tensor) -> list[Column]:
        return [metrics(row) for row in table.mean(dim=-1)]

    return {
        "truth": by_layer(truth),
        "engine": by_layer(engine),
        "engine_error": by_layer((engine - truth).abs()),
        "floor_error": by_layer((floor - truth).abs()),
    }


def _causality(engine: Engine, ids: Tensor) -> list[Causality]:
    """Replace all tokens from some position on: how many earlier positions' logits changed in any bit, and the first of
    them.

    Both runs are of the same length, so the same kernels with the same blocks run and the bits must be equal.
    """
    ids = ids[:CAUSAL_LENGTH]
    before = engine.forward_logits(ids).clone()
    causality_runs: list[Causality] = []
    for place in (place for place in CAUSAL_CHANGES if place < len(ids)):
        changed = ids.clone()
        # Increment ids, so that every later token differs.
        changed[place:] = (ids[place:] + 1) % before.shape[-1]
        after = engine.forward_logits(changed)
        differs = (after[:place].view(torch.int32) != before[:place].view(torch.int32)).any(dim=-1).nonzero()[:, 0]
        later = not torch.equal(after[place:], before[place:])
        first = int(differs[0]) if len(differs) else None
        causality_runs.append(
            {"changed_from": place, "differing": len(differs), "first": first, "later_changed": later}
        )
    return causality_runs


def _continuations(engine: Engine, golden: Golden | Subset, say: Callable[[str], None]) -> list[Continuation]:
    """The engine's greedy answers, HF's, and the choices of the engine's prefill of prompt and answer. Certainties are
    margins over bfloat16's error: HF's margin for its steps, the engine's for its own.
    """
    continuations = []
    for number, recorded in enumerate(golden.continuations()):
        say(f"coherence: greedy answer {number + 1}, {len(recorded.ids)} tokens after {recorded.prompt}")
        prompt = golden.document(recorded.document).ids[: recorded.prompt]
        answer = [int(token) for token in engine.generate(prompt, len(recorded.ids))]
        logits = engine.forward_logits(torch.cat([prompt, torch.tensor(answer)]))[recorded.prompt - 1 : -1].cpu()
        best = logits.topk(2, dim=-1).values
        row: Continuation = {
            "document": recorded.document,
            "prompt": recorded.prompt,
            "truth": list(recorded.ids),
            "engine": answer,
            "prefill": first_argmax(logits).tolist(),
            "certainty": metrics(recorded.margin / recorded.noise.clamp_min(golden.typical_noise)),
            "own_certainty": metrics((best[:, 0] - best[:, 1]) / golden.typical_noise),
        }
        continuations.append(row)
    return continuations


def metrics(values: Tensor) -> Column:
    """Six significant digits each; None if not finite, so that any JSON parser can read it."""
    finite = values.isfinite().tolist()
    return [float(f"{value:.6g}") if good else None for value, good in zip(values.tolist(), finite, strict=True)]
