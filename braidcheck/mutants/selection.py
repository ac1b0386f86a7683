"""Chooses mutants, the gates that each of them runs, and time limits."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from braidcheck.errors import UserError
from braidcheck.gates import GATES as ALL_GATES
from braidcheck.mutants import generate, named_faults
from braidcheck.mutants.mutant import Mutant
from braidcheck.settings import PRODUCTION

KINDS = ("named", "generated")
GATES = tuple(gate.name for gate in ALL_GATES.values() if gate.detects_mutants)
OF_OPS, OF_MODEL = (tuple(name for name in GATES if ALL_GATES[name].per_op is per_op) for per_op in (True, False))
LOADER, COHERENCE = "loader", "coherence"
LIMITS = {"named": 240.0, "generated": 60.0, "control": 600.0}  # seconds that a trial may take
LOADERS = ("__init__.py", "architecture.py", "checkpoint.py", "weights.py")
EQUIVALENT = Path(__file__).parent / "equivalent.toml"


def choose(kinds: Sequence[str] = KINDS, ops: Sequence[str] = ()) -> list[Mutant]:
    """The mutants of these kinds, or those of them that affect these ops. Raises UserError if there are none."""
    made: Mapping[str, Callable[[], Iterable[Mutant]]] = {
        "named": named_faults.named,
        "generated": lambda: generate.generated(ops),
    }
    mutants = [mutant for kind in KINDS if kind in kinds for mutant in made[kind]()]
    chosen = [mutant for mutant in mutants if not ops or set(ops) & set(mutant.ops)]
    if not chosen:
        raise UserError(f"no mutant of {', '.join(ops)}; omit --op for all")
    return chosen


def gates(mutant: Mutant, blame: bool = False) -> tuple[str, ...]:
    """The gates for a mutant, its expected detector first; for a generated one those of ops. For ``blame`` only the
    coherence gate, if the mutant can reach it.
    """
    return tuple(sorted(_met(mutant, blame), key=lambda gate: gate != mutant.expected_detector[0]))


def _met(mutant: Mutant, blame: bool) -> tuple[str, ...]:
    if blame:
        return (COHERENCE,) if _reaches_coherence(mutant) else ()
    if mutant.kind == "generated":
        return OF_OPS
    if mutant.file.startswith("models/") and mutant.file.endswith(LOADERS):
        return tuple(sorted(OF_MODEL, key=lambda gate: gate != LOADER))
    if not mutant.ops:
        return OF_MODEL
    unaffected = (LOADER,) if _reaches_coherence(mutant) else (LOADER, COHERENCE)
    return tuple(gate for gate in GATES if gate not in unaffected)


def _reaches_coherence(mutant: Mutant) -> bool:
    """Whether the engine that coherence evaluates, which answers greedily, takes any op that the mutant can change."""
    from braidcheck.mutants import model_calls

    calls = model_calls.of(PRODUCTION)
    return not mutant.ops or not calls.document.isdisjoint(mutant.ops) or not calls.answer.isdisjoint(mutant.ops)


def equivalents(path: Path = EQUIVALENT) -> dict[str, str]:
    """The generated mutants that are listed as equivalent: the reason by id."""
    reasons = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: reason for reason, names in reasons.items() for name in names}
