"""The coherence gate: is it still the same model? Evaluates the evidence of `measure_coherence`, one Verdict per
check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from braidcheck.gates.coherence.evidence import Blame, Evidence
from braidcheck.gates.coherence.finding import Finding, InsufficientData
from braidcheck.gates.gate import Gate, Progress, TrialChecks
from braidcheck.result import Status, Verdict
from braidcheck.settings import Settings

FORMAT = 1

CHECKS = (
    *("kl", "nll", "position", "logits", "hidden", "flips", "entropy"),
    *("causality", "continuation", "decode", "recall", "repetition"),
)


@cache
def checks() -> dict[str, Callable[[Evidence], Finding]]:
    """The functions of CHECKS; they need numpy, which a list of gates does not."""
    from braidcheck.gates.coherence import behaviour, distance

    return {name: getattr(distance, name, None) or getattr(behaviour, name) for name in CHECKS}


def evaluate(evidence: Evidence, lane: str = "") -> tuple[Verdict, ...]:
    """One Verdict for each of CHECKS, in that order; subjects read "nano: kl".

    Missing or malformed evidence is an error, non-finite values are a failure, too few values are inconclusive.
    Failures name the suspect op if ``evidence["blame"]`` has it.
    """
    model = evidence.get("model", "model")
    findings = {name: _blamed(_find(name, check, evidence), evidence.get("blame")) for name, check in checks().items()}
    return tuple(
        Verdict(gate="coherence", subject=f"{model}: {name}", lane=lane, **vars(f)) for name, f in findings.items()
    )


def failing(evidence: Evidence) -> list[str]:
    """The names of the checks that fail."""
    return [
        name for name, check in checks().items() if _find(name, check, evidence).status in (Status.FAIL, Status.ERROR)
    ]


def describe_blame(blame: Blame) -> str:
    """The result of ``blame.find_blame`` as text."""
    if not blame:
        return "unknown: the failure did not reproduce, or broke the GPU's context"
    if not blame["ops"]:
        return "no op: it fails with all ops at their references too; look at weights, config, positions, masks, cache"
    first, last = blame["layers"] or (None, None)
    where = "" if first is None else f" in layer {first}" if first == last else f" in layers {first}-{last}"
    result = "it passes" if blame["repaired"] else "it still fails"
    if blame["kl_repaired"] is not None:
        result = f"KL is {blame['kl_repaired']:.2g}" + ("" if blame["repaired"] else " and it still fails")
    return f"{' and '.join(blame['ops'])}{where}; with the reference there {result}"


def _blamed(finding: Finding, blame: Blame | None) -> Finding:
    if blame is None or finding.status != Status.FAIL:
        return finding
    message = f"{finding.message}; suspect ops: {describe_blame(blame)}"
    return replace(finding, message=message, metrics={**finding.metrics, "blame": blame})


def _find(name: str, check: Callable[[Evidence], Finding], evidence: Evidence) -> Finding:
    if why := evidence.get("lacks", {}).get(name):
        return Finding(Status.SKIPPED, why)
    if how := evidence.get("broken", {}).get(name):
        return Finding(Status.ERROR, how)
    try:
        if evidence.get("format") != FORMAT:
            raise InsufficientData(
                Status.ERROR, f"evidence has format {evidence.get('format')}, this gate reads {FORMAT}"
            )
        return check(evidence)
    except InsufficientData as reason:
        return reason.finding
    except KeyError as name:
        return Finding(Status.ERROR, f"the evidence has no {name}: the run is incomplete")
    except (TypeError, ValueError, IndexError) as problem:
        return Finding(Status.ERROR, f"the evidence cannot be read: {problem}")


def subjects(settings: Settings) -> list[str]:
    """The checks, with the model's name before them."""
    return [f"{settings.model_name}: {check}" for check in CHECKS]


def run(settings: Settings, subjects: Sequence[str], progress: Progress) -> tuple[Verdict, ...]:
    """Run the model on its golden's documents and, if checks fail, find the op at fault."""
    from braidcheck.gates.coherence.blame import find_blame
    from braidcheck.gates.coherence.measure import measure_coherence
    from braidcheck.gates.under_test import module
    from braidcheck.golden.resolve import resolve

    checkpoint, golden = resolve(settings.model, settings.dataset, settings.revision, settings.device)
    engine = module("models.engine").Engine.load(checkpoint, settings.device, attention=settings.attention)
    evidence = measure_coherence(engine, golden, progress)
    if wrong := failing(evidence):
        evidence["blame"] = find_blame(engine, golden, wrong, failing, progress)
    return evaluate(evidence, settings.lane)


def _trial_checks() -> TrialChecks:
    from braidcheck.gates.coherence.trial import trial_checks

    return trial_checks


GATE = Gate(
    name="coherence",
    question="Does the whole model still give the probabilities and answers recorded as its golden?",
    failure_page="model",
    subjects=subjects,
    run=run,
    runs_kernels=True,
    shared=True,
    has_headroom=True,
    timeout_s=7200,
    load_trial_checks=_trial_checks,
)
