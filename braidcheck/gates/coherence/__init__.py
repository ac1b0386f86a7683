"""The coherence gate: is it still the same model? Evidence of `observe_coherence` in, one Verdict a check out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from braidcheck.gates.coherence import behaviour, distance
from braidcheck.gates.coherence.spread import Finding, Unjudgeable
from braidcheck.result import Status, Verdict

GATE = "coherence"
FORMAT = 1

_CHECKS = {
    check.__name__: check
    for check in (
        distance.kl,
        distance.nll,
        distance.position,
        distance.logits,
        distance.hidden,
        distance.flips,
        distance.entropy,
        behaviour.causality,
        behaviour.continuation,
        behaviour.decode,
        behaviour.recall,
        behaviour.repetition,
    )
}
CHECKS: tuple[str, ...] = tuple(_CHECKS)


def evaluate(evidence: Mapping[str, Any], lane: str = "") -> tuple[Verdict, ...]:
    """One Verdict for each of CHECKS, in that order; subjects read "nano: kl".

    Evidence that is absent or malformed gives an error, values that are not finite a failure, too few an
    inconclusive verdict. Failures name the op to blame, where ``evidence["blame"]`` has it.
    """
    model = evidence.get("model", "model")
    findings = {name: _blamed(_find(check, evidence), evidence.get("blame")) for name, check in _CHECKS.items()}
    return tuple(Verdict(gate=GATE, subject=f"{model}: {name}", lane=lane, **vars(f)) for name, f in findings.items())


def failing(evidence: Mapping[str, Any]) -> list[str]:
    """The names of the checks that fail."""
    return [name for name, check in _CHECKS.items() if _find(check, evidence).status in (Status.FAIL, Status.ERROR)]


def accusation(blame: Mapping[str, Any]) -> str:
    """What ``blame.find_blame`` found, in words."""
    if not blame:
        return "unknown: the failure did not show again, or broke the GPU's context"
    if not blame["ops"]:
        return "no op: it fails with all of them at their references; look at weights, config, positions, masks, cache"
    first, last = blame["layers"] or (None, None)
    where = "" if first is None else f" in layer {first}" if first == last else f" in layers {first}-{last}"
    result = "it passes" if blame["repaired"] else "it still fails"
    if blame["kl_repaired"] is not None:
        result = f"KL is {blame['kl_repaired']:.2g}" + ("" if blame["repaired"] else " and it still fails")
    return f"{' and '.join(blame['ops'])}{where}; with the reference there {result}"


def _blamed(finding: Finding, blame: Mapping[str, Any] | None) -> Finding:
    if blame is None or finding.status != Status.FAIL:
        return finding
    said = f"{finding.sentence}; to blame: {accusation(blame)}"
    return replace(finding, sentence=said, numbers={**finding.numbers, "blame": blame})


def _find(check: Callable[[Mapping[str, Any]], Finding], evidence: Mapping[str, Any]) -> Finding:
    try:
        if evidence.get("format") != FORMAT:
            raise Unjudgeable(Status.ERROR, f"evidence has format {evidence.get('format')}, this gate reads {FORMAT}")
        return check(evidence)
    except Unjudgeable as reason:
        return reason.finding
    except KeyError as name:
        return Finding(Status.ERROR, f"the evidence has no {name}: the run was not whole")
    except (TypeError, ValueError, IndexError) as problem:
        return Finding(Status.ERROR, f"the evidence cannot be read: {problem}")
