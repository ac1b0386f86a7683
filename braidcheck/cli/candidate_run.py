"""Runs all checks of a function: if its process dies or hangs, that check fails and the rest run in a new process."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from braidcheck.cli.checked_functions import at_commit
from braidcheck.cli.served_cases import of_cases
from braidcheck.errors import in_one_line
from braidcheck.gates.under_test.workers import Workers
from braidcheck.isolation.privacy import unreadable
from braidcheck.isolation.process import EndedError, TimeLimitError
from braidcheck.report.progress import Progress
from braidcheck.result import Status, Verdict

if TYPE_CHECKING:
    from braidcheck.cli.candidate_checks import Subject
    from braidcheck.gates.under_test.candidate import Candidate

DECLARED = "checked against the requested "  # the contract that was requested
HELD, PASSES = "held to ", "passes as "  # a contract other than the op's own, as a verdict and in the summary
OUTSIDE = ": it accessed memory outside of its tensors; does it use all strides of its inputs?"
MAX_PROCESSES = 6  # after which a function that keeps ending its process is abandoned
AGAIN = 16  # cases that are repeated at the end
MAX_AGAIN_S = 0.5  # maximum seconds of a repeated case


@dataclass(frozen=True)
class Limits:
    """Time limits of the function, in seconds: for one check, and in all."""

    each: float
    all: float


def evaluate(
    op: str, function: str, device: str, seed: int, chosen: str, limits: Limits, must_launch: bool = False,
    contract: Sequence[str] = (),
) -> list[Verdict]:  # fmt: skip
    """A verdict on each subject, in the listed order, then one on how many cases are supported. Raises UserError if
    there is no subject. ``contract`` names the conventions to check; by default they are detected. The seed draws the
    order of the checks; some cases are repeated at the end.
    """
    if device == "cpu":
        os.environ.setdefault("TRITON_INTERPRET", "1")  # nothing is launched in this process, but kernels are imported
    with at_commit(function) as function, unreadable(), closing(Workers(device)) as workers:
        from braidcheck import kernels
        from braidcheck.cli.candidate_checks import subjects
        from braidcheck.gates.accuracy.measure import answers_kept
        from braidcheck.gates.under_test import use_candidate
        from braidcheck.gates.under_test.candidate import Candidate
        from braidcheck.isolation.exchange import Exchange
        from braidcheck.numerics.contract_variants import under
        from braidcheck.numerics.conventions import named

        whole = kernels.find()[op]
        declared = named(whole, contract)
        with closing(Exchange(workers.start, workers.file)) as exchange:
            candidate = Candidate(under(whole, declared), function, exchange, limits.each, must_launch)
            with use_candidate(op, candidate), _one_thread(), answers_kept():
                questions = subjects(whole, candidate, device, seed, chosen, declared)
                verdicts = Questions(questions, candidate, limits, random.Random(seed)).verdicts(f"checking {op}")
        cases = [
            (subject.dtype, verdict) for subject, verdict in zip(questions, verdicts, strict=True) if subject.dtype
        ]
        return [*verdicts, *([of_cases(op, cases)] if cases else [])]


@contextmanager
def _one_thread() -> Iterator[None]:
    """For the references of small cases threads cost more than they gain."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Questions:
    """The subjects of one function, and their verdicts."""

    def __init__(self, subjects: Sequence[Subject], candidate: Candidate, limits: Limits, dice: random.Random) -> None:
        self._subjects, self._candidate, self._limits, self._dice = subjects, candidate, limits, dice
        self._left, self._ended = limits.all, 0
        self._verdict_of: dict[int, Verdict] = {}
        self._seconds: dict[int, float] = {}

    def verdicts(self, title: str) -> list[Verdict]:
        """One on each subject."""
        numbers = range(len(self._subjects))
        with Progress(title) as progress:
            for number in self._dice.sample(numbers, len(numbers)):
                progress(self._subjects[number].name, len(self._verdict_of), len(numbers))
                started = time.monotonic()
                self._verdict_of[number] = self._verdict(self._subjects[number])
                self._seconds[number] = time.monotonic() - started
            for number in self._again():
                self._verdict_of[number] = self._checked_again(number)
        return [self._verdict_of[number] for number in numbers]

    def _verdict(self, subject: Subject) -> Verdict:
        if self._ended >= MAX_PROCESSES:
            why = f"not run: the function ended or held up its process {MAX_PROCESSES} times before"
            return Verdict(subject.gate, subject.name, Status.ERROR, why)
        if self._left <= 0:
            why = f"not run: the function took {self._limits.all:g} s in all; --total-timeout allows more"
            return Verdict(subject.gate, subject.name, Status.ERROR, why)
        self._candidate.seconds = seconds = min(self._limits.each, self._left)
        try:
            return subject.evaluate()
        except TimeLimitError:
            self._ended += 1
            message = f"the function is still running after {seconds:g} s; --timeout allows more"
        except EndedError as how:
            self._ended += 1
            message = f"the function {how}{OUTSIDE if 'SIGSEGV' in str(how) else ''}"
        except Exception as error:  # of the function, or of the check on its results
            if lacking := self._candidate.uninterpreted:
                return Verdict(subject.gate, subject.name, Status.SKIPPED, lacking)
            message = in_one_line(error)
        finally:
            self._left -= seconds - self._candidate.seconds
        return Verdict(subject.gate, subject.name, Status.FAIL, message)

    def _again(self) -> list[int]:
        """Quick cases that passed."""
        quick = [
            number
            for number, verdict in sorted(self._verdict_of.items())
            if (verdict.gate, verdict.status) == ("accuracy", Status.PASS) and self._seconds[number] < MAX_AGAIN_S
        ]
        return self._dice.sample(quick, min(AGAIN, len(quick)))

    def _checked_again(self, number: int) -> Verdict:
        verdict = self._verdict(self._subjects[number])
        if verdict.status not in (Status.FAIL, Status.SKIPPED):
            return self._verdict_of[number]
        return replace(verdict, status=Status.FAIL, message=f"right at first, wrong when repeated: {verdict.message}")
