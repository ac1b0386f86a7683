"""Compares a model's behaviour with HF's: causality, answers, recall and repetition."""

from __future__ import annotations

from collections.abc import Sequence

from braidcheck.gates.coherence.evidence import Evidence
from braidcheck.gates.coherence.finding import Finding, InsufficientData
from braidcheck.gates.coherence.spread import MARGIN_SIGMA, finite
from braidcheck.result import Status

RECALL_MAX_LOSS, RECALL_MIN_LOST = 0.01, 2
"""Allowed loss of probes: one in a hundred, or two, since rounding alone can flip a near tie each way; or HF bfloat16's
loss."""

REPETITION_MARGIN = 0.2
"""Allowed fraction of repeated 4-grams above HF's: looping gibberish approaches 1, other wordings move it less."""

MIN_STEPS = 16


def causality(evidence: Evidence) -> Finding:
    """No token sees later tokens."""
    runs = evidence["causality"]
    if not runs:
        raise InsufficientData(Status.INCONCLUSIVE, "no document is long enough for a changed token")
    leaks = [run for run in runs if run["differing"]]
    deaf = [run for run in runs if not run["later_changed"]]
    total = sum(run["differing"] for run in runs) + len(deaf)
    if leaks:
        run = leaks[0]
        message = (
            f"changing tokens from {run['changed_from']} on changed the logits of {run['differing']} earlier "
            f"positions, first at {run['first']}: a token sees what comes after it"
        )
    elif deaf:
        message = f"changing tokens from {deaf[0]['changed_from']} on changed no logits: is the text read?"
    else:
        same = "the same within HF bfloat16's noise" if evidence.get("foreign") else "bit for bit the same"
        message = f"changing later tokens, at {len(runs)} places, leaves all earlier logits {same}"
    return Finding(Status.FAIL if leaks or deaf else Status.PASS, message, total, 0, "positions")


def continuation(evidence: Evidence) -> Finding:
    """Greedy answers equal HF's wherever HF is sure."""
    agreed, wrong, parted = 0, [], 0
    for row in evidence["continuations"]:
        truth, engine = row["truth"], row["engine"]
        step = next((index for index, token in enumerate(truth) if engine[index : index + 1] != [token]), len(truth))
        agreed += step
        if step < len(truth):
            parted += 1
            if finite(row["certainty"])[step] > MARGIN_SIGMA:
                wrong.append((row["document"], step))
    metrics = {"agreed": agreed, "parted": parted, "steps": sum(len(row["truth"]) for row in evidence["continuations"])}
    if wrong:
        document, step = wrong[0]
        message = f"greedy decoding diverges from HF's answer at step {step} of document {document}, where HF is sure"
        return Finding(Status.FAIL, message, len(wrong), 0, "answers", metrics)
    if agreed < MIN_STEPS:
        message = f"only {agreed} greedy steps can be compared with HF's: {MIN_STEPS} are needed"
        return Finding(Status.INCONCLUSIVE, message, metrics=metrics)
    unsure = f"; {parted} answers diverge from HF's where HF bfloat16 could too" if parted else ""
    return Finding(Status.PASS, f"{agreed} greedy steps equal HF's{unsure}", 0, 0, "answers", metrics)


def decode(evidence: Evidence) -> Finding:
    """Decoding with the KV cache chooses the same tokens as prefill."""
    sure, wrong = 0, []
    for row in evidence["continuations"]:
        steps = zip(row["engine"], row["prefill"], finite(row["own_certainty"], " of its margins"), strict=True)
        for step, (decoded, prefilled, certainty) in enumerate(steps):
            sure += certainty > MARGIN_SIGMA
            if decoded != prefilled and certainty > MARGIN_SIGMA:
                wrong.append((row["document"], step))
    if wrong:
        document, step = wrong[0]
        message = (
            f"decoding with the KV cache takes another token than prefill of the same text at {len(wrong)} of {sure} "
            f"steps where prefill is sure, first at step {step} of document {document}"
        )
        return Finding(Status.FAIL, message, len(wrong), 0, "steps")
    if sure < MIN_STEPS:
        message = f"prefill is sure at {sure} decoded steps only: {MIN_STEPS} are needed"
        return Finding(Status.INCONCLUSIVE, message)
    return Finding(Status.PASS, f"decoding with the KV cache agrees with prefill at {sure} sure steps", 0, 0, "steps")


def recall(evidence: Evidence) -> Finding:
    """The model predicts what earlier text determines as well as HF does."""
    probes = evidence["probes"]
    if not probes:
        raise InsufficientData(Status.SKIPPED, "this text has no probes, so recall cannot be scored")
    kinds = {"all": probes} | {kind: [p for p in probes if p[0] == kind] for kind in sorted({p[0] for p in probes})}
    metrics, over = {}, {}
    for kind, rows in kinds.items():
        truth, floor, engine = (sum(flags) for flags in zip(*(row[2:5] for row in rows), strict=True))
        allowed = max(RECALL_MAX_LOSS * len(rows), RECALL_MIN_LOST, truth - floor)
        metrics[kind] = {"probes": len(rows), "hf_float32": truth, "hf_bfloat16": floor, "engine": engine}
        over[kind] = (truth - engine) / allowed
    whole = metrics["all"]
    worst = max(over, key=lambda kind: over[kind])
    message = f"{whole['engine']} of {len(probes)} probes are answered right, HF float32 answers {whole['hf_float32']}"
    if whole["hf_float32"] < len(probes) / 2:
        message = f"HF itself answers {whole['hf_float32']} of {len(probes)} probes: too few to see a loss"
        return Finding(Status.INCONCLUSIVE, message, metrics=metrics)
    if over[worst] > 1:
        row = metrics[worst]
        message += f"; worst in {worst}: {row['engine']} of {row['probes']}, HF {row['hf_float32']}"
    status = Status.FAIL if over[worst] > 1 else Status.PASS
    return Finding(status, message, over[worst], 1, "of the allowed loss", metrics)


def repetition(evidence: Evidence) -> Finding:
    """The model does not loop."""
    rows = evidence["continuations"]
    of_engine, of_hf = _repeated([row["engine"] for row in rows]), _repeated([row["truth"] for row in rows])
    limit = of_hf + REPETITION_MARGIN
    message = (
        f"{of_engine:.0%} of the 4-grams in greedy answers are repeated, {of_hf:.0%} in HF's; the limit is {limit:.0%}"
    )
    return Finding(Status.FAIL if of_engine > limit else Status.PASS, message, of_engine, limit, "share", {"hf": of_hf})


def _repeated(answers: Sequence[Sequence[int]]) -> float:
    total = sum(max(0, len(answer) - 3) for answer in answers)
    if total < MIN_STEPS:
        raise InsufficientData(Status.INCONCLUSIVE, f"greedy answers hold {total} 4-grams: {MIN_STEPS} are needed")
    distinct = sum(len({tuple(answer[index : index + 4]) for index in range(len(answer) - 3)}) for answer in answers)
    return 1 - distinct / total
