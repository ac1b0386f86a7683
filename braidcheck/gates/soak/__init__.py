"""The soak gate: over many fresh inputs the kernel, stock PyTorch and honest variants stay below half of the bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from braidcheck.result import Status, Verdict

LIMIT = 0.5  # share of the bound: what is honest needs no more, so that the accuracy gate at 1 has room on both sides
VARIANTS = 3  # honest variants that every op must have


def evaluate(evidence: Mapping[str, Any], lane: str = "") -> list[Verdict]:
    """A verdict a function from what ``measure.observe_soak`` saw of one op, and one where variants are missing.

    Fail above half of the bound or without a result; error where a function was never run.
    """
    verdicts = [_of(evidence["op"], row, lane) for row in evidence["functions"]]
    honest = len(evidence["functions"]) - 2
    if honest < VARIANTS:
        said = f"{evidence['op']} has {honest} honest variants, {VARIANTS} belong to every op"
        verdicts.append(Verdict("soak", f"{evidence['op']}[variants]", Status.ERROR, said, lane=lane))
    return verdicts


def evaluate_models(models: Sequence[Mapping[str, Any]], lane: str = "") -> Verdict:
    """The verdict on whole models of honest variants, from what ``mutants.models.observe`` saw of each.

    Fail where the coherence gate refused one or one raised; error where there are none. What the gate could not decide
    on a part of the golden is no false alarm and is counted apart.
    """
    refused = [row for row in models if row["refused"] or row["raised"]]
    open_checks = Counter(name for row in models for name, check in row["checks"].items() if check[0] == "inconclusive")
    said = f"{len(refused)} of {len(models)} whole models of honest variants were refused"
    if models and not refused:
        said += f" (95%: at most {1 - 0.05 ** (1 / len(models)):.1%} are)"
    if refused:
        first = refused[0]
        said += f"; first seed {first['seed']}: {first['raised'] or first['refused'][0]}"
    status = Status.FAIL if refused else Status.PASS if models else Status.ERROR
    numbers = {"models": len(models), "inconclusive": dict(open_checks), "seeds": [row["seed"] for row in refused]}
    return Verdict("soak", "whole models", status, said, len(refused), 0, unit="refused", lane=lane, numbers=numbers)


def _of(op: str, row: Mapping[str, Any], lane: str) -> Verdict:
    status, said = _answer(op, row)
    return Verdict(
        gate="soak",
        subject=f"{op}[{row['function']}]",
        status=status,
        sentence=said,
        value=row["share"],
        limit=LIMIT,
        unit="share of the bound",
        lane=lane,
        numbers={key: row[key] for key in ("pairs", "case", "output")},
    )


def _answer(op: str, row: Mapping[str, Any]) -> tuple[Status, str]:
    who = f"{row['function']} of {op}"
    if not row["pairs"]:
        return Status.ERROR, f"{who} was run on no case"
    if row["raised"]:
        return Status.FAIL, f"{who} raised {row['raised']} on {row['case']}"
    said = f"{who} uses {row['share']:.3f} of the bound on {row['case']} ({row['output']}), worst of {row['pairs']}"
    return (Status.PASS if row["share"] <= LIMIT else Status.FAIL), said
