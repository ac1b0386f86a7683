"""The distance of a model's numbers from HF float32's, relative to HF bfloat16's distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp

import numpy as np

from braidcheck.gates.coherence.evidence import Document, Evidence
from braidcheck.gates.coherence.finding import Finding, InsufficientData
from braidcheck.gates.coherence.spread import (
    MARGIN_SIGMA,
    MIN_DOCUMENTS,
    MIN_TOKENS,
    RATIO,
    Ratio,
    column,
    finite,
    mean,
    whole_documents,
)
from braidcheck.result import Status

NLL_MARGIN = 0.005
"""Nats per token in both directions, since a leak of later tokens lowers perplexity: half a percent of perplexity, a
sixth of the 3% within which nano must match its generator. HF bfloat16 shifts by 0.00006 on nano."""

ENTROPY_RATIO, MIN_ENTROPY_LIMIT_NATS = 3.0, 0.02
"""A head's entropy may deviate three times as much as HF bfloat16's, whose mean of few samples is uncertain by a factor
of two; and always by 0.02 nats, 2% in perplexity of attention."""

MIN_KL_RATIO = 1e-3
"""Fraction of HF bfloat16's KL below which no 16-bit engine can be: float16 rounds eight times less than bfloat16, and
KL grows with the square, hence a sixty-fourth. Far below it the golden must have been recorded from this engine."""

BINS = ((0, 128), (128, 512), (512, 1024), (1024, 1 << 62))
BLOCK = 128


def kl(evidence: Evidence) -> Finding:
    """Mean KL to HF float32, relative to HF bfloat16's. An error if it is so small that the golden cannot be HF's."""
    documents = whole_documents(evidence)
    of_engine, floor = column(documents, "kl"), column(documents, "kl_floor")
    ratio = Ratio.of([row.sum() for row in of_engine], [row.sum() for row in floor])
    tokens = sum(map(len, of_engine))
    distance, floor_distance = (sum(row.sum() for row in rows) / tokens for rows in (of_engine, floor))
    metrics = {"kl": distance, "kl_floor": floor_distance, "tokens": tokens, "documents": len(documents)}
    departs_at = _departs(_layers(evidence)) if "hidden" in evidence or not evidence.get("foreign") else None
    metrics |= {"departs_first_at_layer": departs_at, "perplexity": _perplexity(evidence, documents)}
    if ratio.value < MIN_KL_RATIO and not evidence.get("foreign"):  # a user's engine may compute in float32
        message = (
            f"KL to the golden is {ratio.value:.2g}x HF bfloat16's own, below {MIN_KL_RATIO:g}: no 16-bit engine "
            "is that close to HF float32; record the golden from HF transformers"
        )
        return Finding(Status.ERROR, message, metrics=metrics)
    shown = departs_at is not None and ratio.status != Status.PASS
    departs = f"; departs first at layer {departs_at}" if shown else ""
    message = (
        f"KL to HF float32 is {distance:.2g} nats per token, {ratio.value:.3g}x HF bfloat16's own {floor_distance:.2g} "
        f"(95%: up to {ratio.upper:.3g}x); at most {RATIO}x is allowed{departs}"
    )
    return Finding(ratio.status, message, ratio.upper, RATIO, "x HF bfloat16", metrics)


def nll(evidence: Evidence) -> Finding:
    """Likelihood of the text: neither worse nor better than HF float32's."""
    documents = whole_documents(evidence)
    of_engine, truth, floor = (column(documents, name) for name in ("nll", "nll_truth", "nll_floor"))
    counts = [len(row) for row in truth]
    shift = mean([a.sum() - b.sum() for a, b in zip(of_engine, truth, strict=True)], counts)
    floor_shift = mean([a.sum() - b.sum() for a, b in zip(floor, truth, strict=True)], counts)
    status = Status.PASS if max(-shift.low, shift.high) < NLL_MARGIN else Status.INCONCLUSIVE
    status = Status.FAIL if abs(shift.value) > NLL_MARGIN else status
    leak = ": does it see later tokens?" if shift.value < -NLL_MARGIN else ""
    if status != Status.PASS and abs(floor_shift.value) > NLL_MARGIN:
        leak = (
            f"; HF bfloat16's own differs by {floor_shift.value:+.2g}: this text's likelihood cannot tell a right "
            "engine of that precision from a wrong one; do near ties of a router choose other experts? Record a longer "
            "text"
        )
    perplexity = _perplexity(evidence, documents)
    message = (
        f"perplexity is {perplexity['engine']:.5g}, HF float32's {perplexity['hf_float32']:.5g}: NLL differs by "
        f"{shift.value:+.2g} nats per token (90%: {shift.low:+.2g} to {shift.high:+.2g}); at most {NLL_MARGIN} either "
        f"way is allowed{leak}"
    )
    metrics = {"shift": vars(shift), "floor": vars(floor_shift), "perplexity": perplexity}
    return Finding(status, message, max(-shift.low, shift.high), NLL_MARGIN, "nats per token", metrics)


def position(evidence: Evidence) -> Finding:
    """KL by position: some faults show only far from the beginning."""
    documents = whole_documents(evidence)
    columns = {name: column(documents, name) for name in ("kl", "kl_floor", "nll", "nll_truth", "nll_floor")}
    ratios: dict[str, Ratio] = {}
    metrics: dict[str, dict[str, float]] = {}
    for start, stop in BINS:
        # Few documents are long, so bins far out resample blocks instead of whole documents.
        blocks = [
            (number, slice(index, min(index + BLOCK, len(row))))
            for number, row in enumerate(columns["kl"])
            for index in range(start, min(stop, len(row)), BLOCK)
        ]
        if len(blocks) >= MIN_DOCUMENTS:
            name = f"{start}-{stop - 1}" if stop < 1 << 62 else f"{start}+"
            sums = {key: [float(rows[n][part].sum()) for n, part in blocks] for key, rows in columns.items()}
            ratios[name] = Ratio.of(sums["kl"], sums["kl_floor"])
            shifts = _shifts(sums, [len(columns["nll"][n][part]) for n, part in blocks])
            metrics[name] = {"ratio": ratios[name].value, "upper": ratios[name].upper, **shifts}
    if not ratios:
        raise InsufficientData(
            Status.INCONCLUSIVE, f"no range of positions has {MIN_DOCUMENTS} blocks of {BLOCK} tokens"
        )
    worst = max(ratios, key=lambda name: ratios[name].upper)
    ratio = ratios[worst]
    message = (
        f"worst at positions {worst}: KL is {ratio.value:.3g}x HF bfloat16's (95%: up to {ratio.upper:.3g}x); "
        f"at most {RATIO}x is allowed"
    )
    status = Status.FAIL if any(each.status == Status.FAIL for each in ratios.values()) else ratio.status
    return Finding(status, message, ratio.upper, RATIO, "x HF bfloat16", metrics)


def _shifts(sums: Mapping[str, Sequence[float]], counts: Sequence[int]) -> dict[str, float]:
    """NLL minus HF float32's, in nats per token with its 90% interval, and HF bfloat16's; a document's last token has
    no NLL, so a bin far out may have none at all."""
    if not sum(counts):
        return {}
    shifts = {who: np.subtract(sums[who], sums["nll_truth"]).tolist() for who in ("nll", "nll_floor")}
    of_engine, floor = mean(shifts["nll"], counts), mean(shifts["nll_floor"], counts)
    return {"nll": of_engine.value, "nll_low": of_engine.low, "nll_high": of_engine.high, "nll_floor": floor.value}


def logits(evidence: Evidence) -> Finding:
    """Logits over the whole vocabulary; KL distinguishes only the best 64."""
    documents = [row for row in whole_documents(evidence) if row["logit_error"]]
    of_engine, floor = column(documents, "logit_error"), column(documents, "logit_error_floor")
    ratio = Ratio.of([row.sum() for row in of_engine], [row.sum() for row in floor])
    count = sum(map(len, of_engine))
    message = (
        f"over the whole vocabulary logits are {ratio.value:.3g}x as far from HF float32 as HF bfloat16's (95%: up "
        f"to {ratio.upper:.3g}x, {count} positions); at most {RATIO}x is allowed"
    )
    return Finding(ratio.status, message, ratio.upper, RATIO, "x HF bfloat16", {"positions": count})


def hidden(evidence: Evidence) -> Finding:
    """Hidden states layer by layer: shows faults that this model's answers hide."""
    layers = _layers(evidence)
    worst = max(range(len(layers)), key=layers.__getitem__)
    first = _departs(layers)
    departs = "" if first is None else f"; departs first at layer {first}, {layers[first]:.3g}x"
    message = (
        f"hidden states are furthest off after layer {worst}, {layers[worst]:.3g}x as far from HF float32 as HF "
        f"bfloat16's; at most {RATIO}x is allowed{departs}"
    )
    status = Status.PASS if first is None else Status.FAIL
    return Finding(status, message, layers[worst], RATIO, "x HF bfloat16", {"layers": layers})


def flips(evidence: Evidence) -> Finding:
    """The best token wherever HF is sure of it."""
    documents = whole_documents(evidence)
    certain = [row > MARGIN_SIGMA for row in column(documents, "certainty")]
    flips = [
        (number, place) for number, row in enumerate(documents) for place in row["flips"] if certain[number][place]
    ]
    evaluated, total = int(sum(row.sum() for row in certain)), sum(map(len, certain))
    metrics = {"flips": flips[:20], "evaluated": evaluated, "positions": total}
    metrics["all_flips"] = sum(len(row["flips"]) for row in documents)
    where = f", first in document {flips[0][0]} at token {flips[0][1]}" if flips else ""
    message = f"the best token is not HF float32's at {len(flips)} of {evaluated} positions where HF is sure{where}"
    if evaluated < MIN_TOKENS:
        message = f"HF is sure of its best token at {evaluated} of {total} positions: {MIN_TOKENS} are needed"
        return Finding(Status.INCONCLUSIVE, message, metrics=metrics)
    return Finding(Status.FAIL if flips else Status.PASS, message, len(flips), 0, "flips", metrics)


def entropy(evidence: Evidence) -> Finding:
    """How widely each head attends: detects collapse and blur."""
    tables = evidence["entropy"]
    if not tables:
        raise InsufficientData(Status.SKIPPED, "this engine's Q stays inside a fused op: entropy cannot be measured")
    truth, engine, error, floor = (
        np.array([finite(row) for row in table])
        for table in (tables["truth"], tables["engine"], tables["engine_error"], tables["floor_error"])
    )
    limits = np.maximum(ENTROPY_RATIO * floor, MIN_ENTROPY_LIMIT_NATS)
    used = error / limits
    layer, head = (int(index) for index in np.unravel_index(used.argmax(), used.shape))
    value, limit = float(error[layer, head]), float(limits[layer, head])
    collapsed = "; it attends to next to nothing else" if engine[layer, head] < truth[layer, head] / 2 else ""
    message = (
        f"attention entropy is furthest off in layer {layer}, head {head}: by {value:.2g} nats (mean "
        f"{engine[layer, head]:.3g}, HF {truth[layer, head]:.3g}); at most {limit:.2g} is allowed{collapsed}"
    )
    metrics = {"over": int((used > 1).sum()), "heads": used.size}
    return Finding(Status.FAIL if value > limit else Status.PASS, message, value, limit, "nats", metrics)


def _perplexity(evidence: Evidence, documents: Sequence[Document]) -> dict[str, float]:
    columns = {"engine": "nll", "hf_float32": "nll_truth", "hf_bfloat16": "nll_floor"}
    # A broken engine's NLL can overflow exp.
    perplexity = {who: exp(min(np.concatenate(column(documents, name)).mean(), 700.0)) for who, name in columns.items()}
    return perplexity | {"generator": evidence["generator_perplexity"]}


def _layers(evidence: Evidence) -> list[float]:
    """Error of the hidden states after each layer over HF bfloat16's."""
    hidden = evidence["hidden"]
    of_engine, floor = finite(hidden["engine"], " of engine's layers"), finite(hidden["floor"], " of floor's layers")
    return [float(ratio) for ratio in of_engine / floor]


def _departs(layers: Sequence[float]) -> int | None:
    return next((layer for layer, ratio in enumerate(layers) if ratio > RATIO), None)
