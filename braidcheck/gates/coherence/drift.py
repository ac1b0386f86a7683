"""Compares two recordings of one model on one text: what changed, and whether it is significant.

Each recording is evaluated as an engine on the other's golden. If the checks of the coherence gate pass, the change is
within HF bfloat16's own noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from braidcheck.engines.client import Top
from braidcheck.errors import UserError
from braidcheck.gates import coherence
from braidcheck.gates.coherence.evidence import Continuation, Document, Evidence
from braidcheck.gates.coherence.measure import FORMAT, entropy_errors, hidden_errors, metrics, probe_row, spread
from braidcheck.gates.surfaces.truth import Text, divergences, texts_of
from braidcheck.golden.readings import Readings, margin
from braidcheck.golden.store import RUNS, Golden, GoldenDocument
from braidcheck.result import Verdict

UNTOLD = ("date", "command", "digest", "golden", "perplexity")  # entries of a manifest that carry no information
NO_ANSWERS = "a recording has greedy answers in float32 only"
NOT_RECORDED = "a recording has no {}"


@dataclass(frozen=True)
class Drift:
    """One run of the later recording compared with the earlier one; KL by document and NLL in nats per token. ``same``:
    all recorded numbers have the same bits.
    """

    run: str
    same: bool
    kl: list[float]
    nll: float
    flips: int
    tokens: int
    hidden: float
    answers: int
    same_answers: int


def changed_entries(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The entries that differ between two manifests: name and both values, empty for a missing one."""
    one, other = _flat(a), _flat(b)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return [(name, one.get(name, ""), other.get(name, "")) for name in names]


def _flat(entries: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in entries.items():
        if not prefix and name in UNTOLD:
            continue
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: str(value)}
    return flat


def measure_drift(a: Golden, b: Golden) -> list[Drift]:
    """What changed from ``a`` to ``b`` in each run. Raises UserError if their tokens differ."""
    _check_same_tokens(a, b)
    pairs = [(a.document(number), b.document(number)) for number in range(len(a))]
    answers = {(c.document, c.prompt): c.ids for c in b.continuations()}
    both = [(c.ids, answers[c.document, c.prompt]) for c in a.continuations() if (c.document, c.prompt) in answers]
    drifts = []
    for run, name in zip(RUNS, ("truth", "floor"), strict=True):
        ours, theirs = ([getattr(pair[side], name) for pair in pairs] for side in (0, 1))
        errors = [((t.hidden - o.hidden).norm(dim=-1) / o.norm).max() for o, t in zip(ours, theirs, strict=True)]
        counted = both if run == "float32" else []
        names = (f"{field}.{run}" for field in Readings.__dataclass_fields__)
        drifts.append(Drift(
            run,
            all(torch.equal(a.tensors[part], b.tensors[part]) for part in names) and all(o == t for o, t in counted),
            [float(_kl(pair, o, t).mean()) for pair, o, t in zip(pairs, ours, theirs, strict=True)],
            float((torch.cat([t.nll for t in theirs]).double() - torch.cat([o.nll for o in ours]).double()).mean()),
            sum(int((o.argmax != t.argmax).sum()) for o, t in zip(ours, theirs, strict=True)),
            sum(len(pair[0].ids) for pair in pairs),
            float(torch.stack(errors).max()),
            len(counted),
            sum(one == other for one, other in counted),
        ))  # fmt: skip
    return drifts


def _kl(pair: tuple[GoldenDocument, GoldenDocument], one: Readings, other: Readings) -> torch.Tensor:
    text = Text(0, pair[0].ids, pair[0].top_ids, one, one, 0.0)
    return divergences(text, 0, _top(pair[1], other))[0].clamp_min(0.0)


def _top(document: GoldenDocument, run: Readings) -> Top:
    """A run's log-probabilities of its document's 64 ids, as a server returns them."""
    return Top(document.top_ids.int(), run.top.double() - run.lse.double()[:, None])


def _check_same_tokens(a: Golden, b: Golden) -> None:
    for number in range(min(len(a), len(b))):
        if not torch.equal(a.document(number).ids, b.document(number).ids):
            raise UserError(f"the recordings have different tokens from document {number} on: give two of one text")
    if len(a) != len(b):
        raise UserError(f"the recordings are of {len(a)} and {len(b)} documents: give two of one text")
    if a.document(0).truth.norm.shape != b.document(0).truth.norm.shape:
        raise UserError("the recordings are of models of different sizes: give two of one model")
    if not all(torch.equal(a.tensors[name], b.tensors[name]) for name in ("samples", "full_positions", "projection")):
        raise UserError("the recordings sample different positions: record both with one version of braidcheck")


def evaluate_drift(a: Golden, b: Golden) -> list[Verdict]:
    """The coherence gate's verdicts: each run of ``b`` as an engine on ``a``, and of ``a`` on ``b``."""
    verdicts: list[Verdict] = []
    for golden, engine, which in ((a, b, "after on before"), (b, a, "before on after")):
        for run, name in zip(RUNS, ("truth", "floor"), strict=True):
            verdicts += coherence.evaluate(_evidence(golden, engine, name, f"{run}, {which}"))
    return verdicts


def _evidence(golden: Golden, engine: Golden, run: str, title: str) -> Evidence:
    documents: list[Document] = []
    looks: list[tuple[GoldenDocument, Readings]] = []
    texts = {text.number: text for text in texts_of(golden, ())}
    probes = []
    for number in range(len(golden)):
        document, other = golden.document(number), engine.document(number)
        seen: Readings = getattr(other, run)
        documents.append(_document(document, texts[number], seen, _top(other, seen)))
        looks.append((document, seen))
        probes += [probe_row(probe, document, seen) for probe in golden.probes() if probe.document == number]
    absent = {check: NOT_RECORDED.format(check) for check in ("causality", "decode")}
    evidence: Evidence = {
        "format": FORMAT,
        "model": title,
        "golden": golden.manifest["golden"]["sha256"],
        "generator_perplexity": golden.manifest["perplexity"]["generator"],
        "foreign": True,
        "lacks": absent,
        "documents": documents,
        "hidden": hidden_errors(looks),
        "entropy": entropy_errors(looks),
        "probes": probes,
    }
    if run == "truth" and (rows := _continuations(golden, engine)):
        evidence["continuations"] = rows
    else:
        absent.update(dict.fromkeys(("continuation", "repetition"), NO_ANSWERS))
    return evidence


def _document(document: GoldenDocument, text: Text, seen: Readings, top: Top) -> Document:
    truth, floor = document.truth, document.floor
    engine, noise = divergences(text, 0, top)
    return {
        "tokens": len(document.ids),
        "kl": metrics(engine),
        "kl_floor": metrics(noise),
        "nll": metrics(seen.nll),
        "nll_truth": metrics(truth.nll),
        "nll_floor": metrics(floor.nll),
        "certainty": metrics(margin(truth) / text.noise),
        "flips": (seen.argmax != truth.argmax).nonzero()[:, 0].tolist(),
        "logit_error": metrics(spread(seen.full.float() - truth.full)),
        "logit_error_floor": metrics(spread(floor.full.float() - truth.full)),
    }


def _continuations(golden: Golden, engine: Golden) -> list[Continuation]:
    """The answers to prompts that both recordings have."""
    answers = {(c.document, c.prompt): list(c.ids) for c in engine.continuations()}
    return [
        {
            "document": recorded.document,
            "prompt": recorded.prompt,
            "truth": list(recorded.ids),
            "engine": answers[recorded.document, recorded.prompt],
            "prefill": [],
            "certainty": metrics(recorded.margin / recorded.noise.clamp_min(golden.typical_noise)),
            "own_certainty": [],
        }
        for recorded in golden.continuations()
        if (recorded.document, recorded.prompt) in answers
    ]


def described(drift: Drift, worst: int = 3) -> Sequence[str]:
    """The changes of one run, in lines of text."""
    if drift.same:
        return [f"{drift.run}: bit-identical"]
    order = sorted(range(len(drift.kl)), key=lambda number: -drift.kl[number])[:worst]
    chunks = ", ".join(f"{drift.kl[number]:.2g} in document {number}" for number in order if drift.kl[number])
    lines = [
        f"{drift.run}: KL is {sum(drift.kl) / len(drift.kl):.2g} nats per token" + (f" ({chunks})" if chunks else ""),
        f"NLL moves by {drift.nll:+.2g} nats per token; the best token differs at {drift.flips} of {drift.tokens}",
        f"hidden states move by up to {drift.hidden:.2g} of their norm",
    ]
    if drift.answers:
        lines.append(f"{drift.same_answers} of {drift.answers} greedy answers are the same")
    return lines
