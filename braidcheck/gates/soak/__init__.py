"""The soak gate: over many fresh inputs, kernel, PyTorch baseline and equivalent implementations stay below half of the
bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from braidcheck.gates.soak.evidence import Evidence, FunctionRow, ModelRow
from braidcheck.result import Status, Verdict

LIMIT = 0.5  # error ratio; correct code needs no more, so the accuracy gate's limit of 1 has margin on both sides
VARIANTS = 3  # number of equivalent implementations that every op must have


def evaluate(evidence: Evidence, lane: str = "") -> list[Verdict]:
    """One verdict per function from the evidence of ``measure.measure_soak`` on one op, and one if variants are
    missing. Fail above half of the bound or without a result; error if a function was never run.
    """
    verdicts = [_verdict(evidence["op"], row, lane) for row in evidence["functions"]]
    number = len(evidence["functions"]) - 2
    if number < VARIANTS:
        message = f"{evidence['op']} has {number} equivalent implementations, every op needs {VARIANTS}"
        verdicts.append(Verdict("soak", f"{evidence['op']}[variants]", Status.ERROR, message, lane=lane))
    return verdicts


def evaluate_models(models: Sequence[ModelRow], lane: str = "") -> Verdict:
    """The verdict on whole models of equivalent implementations, from the evidence of ``mutants.models.measure``. Fail
    if the coherence gate failed one or one raised; error if there are none. A check that is inconclusive on a part of
    the golden is no false alarm and is counted separately.
    """
    refused = [row for row in models if row["refused"] or row["raised"]]
    open_checks = Counter(name for row in models for name, check in row["checks"].items() if check[0] == "inconclusive")
    message = f"{len(refused)} of {len(models)} whole models of equivalent implementations were refused"
    if models and not refused:
        message += f" (95%: at most {1 - 0.05 ** (1 / len(models)):.1%} are)"
    if refused:
        first = refused[0]
        message += f"; first seed {first['seed']}: {first['raised'] or first['refused'][0]}"
    status = Status.FAIL if refused else Status.PASS if models else Status.ERROR
    metrics = {"models": len(models), "inconclusive": dict(open_checks), "seeds": [row["seed"] for row in refused]}
    return Verdict("soak", "whole models", status, message, len(refused), 0, unit="refused", lane=lane, metrics=metrics)


def _verdict(op: str, row: FunctionRow, lane: str) -> Verdict:
    status, message = _answer(op, row)
    return Verdict(
        gate="soak",
        subject=f"{op}[{row['function']}]",
        status=status,
        message=message,
        value=row["error_ratio"],
        limit=LIMIT,
        unit="error ratio",
        lane=lane,
        metrics={"pairs": row["pairs"], "case": row["case"], "output": row["output"]},
    )


def _answer(op: str, row: FunctionRow) -> tuple[Status, str]:
    who = f"{row['function']} of {op}"
    if not row["pairs"]:
        return Status.ERROR, f"{who} ran on no case"
    if row["raised"]:
        return Status.FAIL, f"{who} raised {row['raised']} on {row['case']}"
    message = (
        f"{who} reaches an error ratio of {row['error_ratio']:.3f} on {row['case']} ({row['output']}), "
        f"worst of {row['pairs']}"
    )
    return (Status.PASS if row["error_ratio"] <= LIMIT else Status.FAIL), message
