"""What a model does, next to what HF does: what it attends to, answers, recalls and repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from braidcheck.gates.coherence.finding import Finding, Unjudgeable
from braidcheck.gates.coherence.spread import CERTAIN, finite
from braidcheck.result import Status

RECALL_LOSS, RECALL_FEWEST = 0.01, 2
"""Probes lost: one in a hundred, or two, since rounding alone can turn one near tie each way; or as HF bfloat16."""

REPETITION_MARGIN = 0.2
"""Share of repeated 4-grams above HF's: gibberish loops and nears 1, another wording of the same text moves less."""

FEWEST_STEPS = 16


def causality(evidence: Mapping[str, Any]) -> Finding:
    """No token sees what comes after it."""
    runs = evidence["causality"]
    if not runs:
        raise Unjudgeable(Status.INCONCLUSIVE, "no document is long enough to change a token in it")
    leaks = [run for run in runs if run["differing"]]
    deaf = [run for run in runs if not run["later_changed"]]
    total = sum(run["differing"] for run in runs) + len(deaf)
    if leaks:
        run = leaks[0]
        sentence = (
            f"changing tokens from {run['changed_from']} on changed the logits of {run['differing']} earlier "
            f"positions, first at {run['first']}: a token sees what comes after it"
        )
    elif deaf:
        sentence = f"changing tokens from {deaf[0]['changed_from']} on changed no logits: the text is not read"
    else:
        sentence = f"changed later tokens leave all earlier logits bit for bit the same, at {len(runs)} places"
    return Finding(Status.FAIL if leaks or deaf else Status.PASS, sentence, total, 0, "positions")


def continuation(evidence: Mapping[str, Any]) -> Finding:
    """Greedy answers are HF's own as far as HF is sure."""
    agreed, wrong, parted = 0, [], 0
    for row in evidence["continuations"]:
        truth, engine = row["truth"], row["engine"]
        step = next((at for at, token in enumerate(truth) if engine[at : at + 1] != [token]), len(truth))
        agreed += step
        if step < len(truth):
            parted += 1
            if finite(row["certainty"])[step] > CERTAIN:
                wrong.append((row["document"], step))
    numbers = {"agreed": agreed, "parted": parted, "steps": sum(len(row["truth"]) for row in evidence["continuations"])}
    if wrong:
        document, step = wrong[0]
        sentence = f"greedy decoding leaves HF's answer at step {step} of document {document}, where HF is sure"
        return Finding(Status.FAIL, sentence, len(wrong), 0, "answers", numbers)
    if agreed < FEWEST_STEPS:
        sentence = f"only {agreed} greedy steps could be held against HF's: {FEWEST_STEPS} are needed"
        return Finding(Status.INCONCLUSIVE, sentence, numbers=numbers)
    unsure = f"; {parted} answers part from HF's where HF bfloat16 could too" if parted else ""
    return Finding(Status.PASS, f"{agreed} greedy steps are HF's own{unsure}", 0, 0, "answers", numbers)


def decode(evidence: Mapping[str, Any]) -> Finding:
    """Decoding with the KV cache takes the tokens that prefill takes."""
    sure, wrong = 0, []
    for row in evidence["continuations"]:
        steps = zip(row["engine"], row["prefill"], finite(row["own_certainty"], " of its margins"), strict=True)
        for step, (decoded, prefilled, certainty) in enumerate(steps):
            sure += certainty > CERTAIN
            if decoded != prefilled and certainty > CERTAIN:
                wrong.append((row["document"], step))
    if wrong:
        document, step = wrong[0]
        sentence = (
            f"decoding with the KV cache takes another token than prefill of the same text at {len(wrong)} of {sure} "
            f"steps where prefill is sure, first at step {step} of document {document}"
        )
        return Finding(Status.FAIL, sentence, len(wrong), 0, "steps")
    if sure < FEWEST_STEPS:
        sentence = f"prefill is sure at {sure} decoded steps only: {FEWEST_STEPS} are needed"
        return Finding(Status.INCONCLUSIVE, sentence)
    return Finding(Status.PASS, f"decoding with the KV cache agrees with prefill at {sure} sure steps", 0, 0, "steps")


def recall(evidence: Mapping[str, Any]) -> Finding:
    """What earlier text determines is foreseen, as HF does."""
    probes = evidence["probes"]
    if not probes:
        raise Unjudgeable(Status.NOT_JUDGED, "this text has no probes, so recall cannot be scored")
    kinds = {"all": probes} | {kind: [p for p in probes if p[0] == kind] for kind in sorted({p[0] for p in probes})}
    numbers, over = {}, {}
    for kind, rows in kinds.items():
        truth, floor, engine = (sum(row[column] for row in rows) for column in (2, 3, 4))
        allowed = max(RECALL_LOSS * len(rows), RECALL_FEWEST, truth - floor)
        numbers[kind] = {"probes": len(rows), "hf_float32": truth, "hf_bfloat16": floor, "engine": engine}
        over[kind] = (truth - engine) / allowed
    whole = numbers["all"]
    worst = max(over, key=lambda kind: over[kind])
    sentence = f"{whole['engine']} of {len(probes)} probes are answered right, HF float32 answers {whole['hf_float32']}"
    if whole["hf_float32"] < len(probes) / 2:
        sentence = f"HF itself answers {whole['hf_float32']} of {len(probes)} probes: too few to see a loss"
        return Finding(Status.INCONCLUSIVE, sentence, numbers=numbers)
    if over[worst] > 1:
        row = numbers[worst]
        sentence += f"; worst in {worst}: {row['engine']} of {row['probes']}, HF {row['hf_float32']}"
    status = Status.FAIL if over[worst] > 1 else Status.PASS
    return Finding(status, sentence, over[worst], 1, "of the allowed loss", numbers)


def repetition(evidence: Mapping[str, Any]) -> Finding:
    """Gibberish loops."""
    rows = evidence["continuations"]
    ours, theirs = (_repeated([row[who] for row in rows]) for who in ("engine", "truth"))
    limit = theirs + REPETITION_MARGIN
    sentence = (
        f"{ours:.0%} of the 4-grams in greedy answers are repeated, {theirs:.0%} in HF's; the limit is {limit:.0%}"
    )
    return Finding(Status.FAIL if ours > limit else Status.PASS, sentence, ours, limit, "share", {"hf": theirs})


def _repeated(answers: Sequence[Sequence[int]]) -> float:
    total = sum(max(0, len(answer) - 3) for answer in answers)
    if total < FEWEST_STEPS:
        raise Unjudgeable(Status.INCONCLUSIVE, f"greedy answers hold {total} 4-grams: {FEWEST_STEPS} are needed")
    distinct = sum(len({tuple(answer[at : at + 4]) for at in range(len(answer) - 3)}) for answer in answers)
    return 1 - distinct / total
