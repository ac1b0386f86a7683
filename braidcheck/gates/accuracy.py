"""The accuracy gate: does an op stay within the error that its contract permits?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from braidcheck.results import Status, Verdict

LIMIT = 1.0  # share of the bound; honest variants stay below 0.5, a mutant must pass 1 on some case


def judge(evidence: Mapping[str, Any], lane: str = "") -> Verdict:
    """Verdict on one case from what ``evidence.op.observe_op`` saw: fail above a share of 1, or without a result."""
    status, sentence, share, numbers = _answer(evidence)
    return Verdict(
        gate="accuracy",
        subject=evidence["case"],
        status=status,
        sentence=sentence,
        value=share,
        limit=LIMIT if share is not None else None,
        unit="share of the bound",
        lane=lane,
        seconds=evidence["seconds"],
        numbers=numbers,
    )


def _answer(evidence: Mapping[str, Any]) -> tuple[Status, str, float | None, dict[str, Any]]:
    op = evidence["op"]
    if evidence["missing"]:
        return Status.NOT_JUDGED, f"takes no {' and no '.join(evidence['missing'])}", None, {}
    if evidence["raised"]:
        return Status.FAIL, f"{op} raised {evidence['raised']}", None, {}
    if evidence["problems"]:
        return Status.FAIL, f"{op}: {'; '.join(evidence['problems'])}", None, {}
    if not evidence["outputs"]:
        return Status.ERROR, f"{op} gave no output to judge", None, {}
    worst = max(evidence["outputs"], key=lambda output: (output["share"] != output["share"], output["share"]))
    numbers = {key: worst[key] for key in ("relative", "stock_share", "stock_relative")} | {"output": worst["name"]}
    if worst["share"] <= LIMIT:
        return Status.PASS, f"{op} uses {worst['share']:.3f} of its bound", worst["share"], numbers
    return Status.FAIL, _complaint(op, worst), worst["share"], numbers


def _complaint(op: str, worst: Mapping[str, Any]) -> str:
    where = f"{worst['name']}{list(worst['index'])}"
    if worst["nonfinite"]:
        return (
            f"{op}: {worst['nonfinite']} elements of {worst['name']} are NaN or infinite "
            f"(unwritten, or computed so); first looked at {where}, which should be {worst['exact']:.6g}"
        )
    if worst["exact"] != worst["exact"]:
        return f"{op} wrote {worst['got']:.6g} to {where}, where nothing may be written"
    # As many digits as it takes to see that they differ.
    digits = next((n for n in (6, 9) if f"{worst['got']:.{n}g}" != f"{worst['exact']:.{n}g}"), 17)
    got, exact = (f"{worst[key]:.{digits}g}" for key in ("got", "exact"))
    return (
        f"{op}: {where} is {got}, exactly {exact}; an error of {worst['allowed']:.2g} is "
        f"permitted, this is {worst['share']:.3g} times the bound (relative error {worst['relative']:.2g})"
    )
