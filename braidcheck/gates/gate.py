"""The Gate: a question about a change, how it is measured and evaluated, and how the suite runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from braidcheck import environment
from braidcheck.op import Op
from braidcheck.result import Verdict
from braidcheck.settings import Settings

ALL_OPS = "every op"  # the subject if Triton, and with it the list of ops, is missing
NO_KERNEL = "no case of {} launches a Triton kernel"  # for an external op, which need not have one

Check = Callable[[], str | None]  # returns a violation or None
Progress = Callable[[str], None]  # gets the progress of a long measurement


def _no_memory(subject: str) -> None:
    """The subject needs too little memory to wait for it."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One gate; ``braidcheck.gates.GATES`` lists all. Reports, the suite and mutation testing read these attributes.

    ``subjects(settings)`` names what the gate gives a verdict on, before anything is measured.
    ``run(settings, subjects, progress)`` measures and evaluates these subjects: a Verdict each.
    Both import torch, kernels and the model only when they are called.
    """

    name: str
    question: str
    subjects: Callable[[Settings], Sequence[str]]
    run: Callable[[Settings, Sequence[str], Progress], Iterable[Verdict]]
    failure_page: str = ""
    """The page of docs/failures/ that has an entry on the gate; empty if none has."""
    per_op: bool = False
    """A subject begins with the name of an op."""
    runs_kernels: bool = False
    """Runs the kernels of the package under test, so it can test those of another tree (threshold protection)."""
    shared: bool = False
    """One measurement gives all verdicts, so one worker takes all subjects."""
    timed: bool = False
    """Times something: has its GPU to itself, in one worker, and its numbers depend on the machine."""
    has_headroom: bool = False
    """Verdicts on the model use a part of a limit, which the HTML report draws."""
    needs_gpu: str = ""
    """Why the interpreter lane skips the gate; empty if it does not."""
    needs_interpreter: str = ""
    """Why the gpu lane skips the gate; empty if it does not."""
    stand_in: str = ""
    """The one subject where the gate cannot run and its subjects are unknown; empty if they are always known."""
    timeout_s: int | None = None
    """Time limit of a subject in seconds; None for the suite's default."""
    gpu_memory: Callable[[str], Callable[[], int] | None] = _no_memory
    """The peak GPU memory of a subject in bytes, for gates whose subjects need much."""
    load_trial_checks: Callable[[], TrialChecks] | None = None
    """Imports the gate's checks for mutation testing; None if it takes no part in it."""

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes in which the gate runs."""
        left_out = {"interpret": self.needs_gpu, "gpu": self.needs_interpreter}
        return tuple(lane for lane, reason in left_out.items() if not reason)

    @property
    def detects_mutants(self) -> bool:
        """Whether the gate takes part in mutation testing."""
        return self.load_trial_checks is not None

    @property
    def in_one_worker(self) -> bool:
        """Whether one worker takes all subjects."""
        return self.shared or self.timed

    def why_not(self, lane: str) -> str:
        """Why the gate cannot run in ``lane`` here; empty if it can."""
        return self.needs_gpu or self.needs_interpreter if lane not in self.lanes else environment.why_no_triton() or ""


@dataclass(frozen=True)
class Fixtures:
    """What mutation testing prepares once, before any mutant: tiny models with HF's answers, nano and a part of its
    golden."""

    tiny: Any = None
    untied: Any = None
    nano: Any = None
    golden: Any = None


def _at_once(check: Check) -> Check:
    return check


@dataclass(frozen=True)
class Trial:
    """One mutant tested by a gate. ``sys.modules`` then holds the mutated package: do not import from it here.

    ``ops`` are those that the mutant can change, with the references and cases of the unmutated package;
    ``case_seconds`` is the usual time of a case by its id, so that quick cases run first. ``one_by_one`` makes a check
    wait for those of other trials that need as much GPU memory. A gate of the model adds its failing checks to
    ``failing``, for fault localization.
    """

    ops: Mapping[str, Op]
    device: str
    case_seconds: Mapping[str, float]
    fixtures: Fixtures
    one_by_one: Callable[[Check], Check] = _at_once
    failing: list[str] = field(default_factory=list)


TrialChecks = Callable[[Trial], Iterator[tuple[str, Check]]]  # a subject and its check, the presumably quickest first


def chosen_ops(settings: Settings) -> dict[str, Op]:
    """The ops selected for a run. Raises ImportError if Triton is missing."""
    from braidcheck import kernels

    return {name: op for name, op in kernels.find().items() if not settings.ops or name in settings.ops}
