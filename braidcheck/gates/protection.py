"""The protection gate: what passes only with the change's own oracles requires maintainer approval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from braidcheck.result import Run, Status, Verdict

GATE = "protection"
APPROVAL = "requires maintainer approval"
LOOSER = 1.001  # tolerance factor: two measurements of one kernel give the same numbers
Waiver = Mapping[str, str]


def evaluate(
    base: Run,
    own: Run | None,
    edited: Mapping[str, str],
    waivers: Sequence[Waiver] = (),
    today: str = "",
    excused: Mapping[str, str] = MappingProxyType({}),
    configured: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Verdict, ...]:
    """Verdicts on a change's kernels, from ``base``, the Run of the base's oracles on them.

    ``own`` is the Run of the change's oracles on the same kernels; None where ``edited``, the oracles that the change
    edits with what each of them decides, is empty. ``excused`` is what the change adds to the lists of exceptions, with
    its reason; ``configured`` the keys of ``[tool.braidcheck]`` that it sets otherwise, and how. A waiver has a
    ``subject``, a ``reason`` and the last day on which it ``expires``; days are ISO dates.
    What both oracles refuse is a failure that no waiver covers.
    """
    theirs, mine = _by_id(base), _by_id(own) if own else {}
    expected = tuple(dict.fromkeys([*base.expected, *theirs]))
    unwaived = [verdict for name in expected for verdict in _of_base(name, theirs.get(name), mine.get(name), own)]
    unwaived += _new(expected, mine, {verdict.gate for verdict in theirs.values()})
    unwaived += [_approval(subject, f"the change excuses it: {reason}") for subject, reason in excused.items()]
    unwaived += [_approval(f"configuration {key}", change) for key, change in configured.items()]
    passed = sum(verdict.status == Status.PASS for verdict in theirs.values())
    verdicts = [
        Verdict(GATE, "the base's oracles", Status.PASS, f"{passed} of {len(expected)} subjects pass with them")
    ]
    if edited:
        listed = ", ".join(f"{file} ({why})" for file, why in edited.items())
        files = {"files": dict(edited)}
        verdicts.append(Verdict(GATE, "edited oracles", Status.PASS, f"the change edits {listed}", metrics=files))
    return (*verdicts, *_waived({verdict.subject: verdict for verdict in unwaived}, waivers, today))


def requires_approval(verdict: Verdict) -> bool:
    """Whether a verdict of this gate requires maintainer approval."""
    return verdict.status == Status.FAIL and verdict.message.startswith(APPROVAL)


def _of_base(name: str, theirs: Verdict | None, mine: Verdict | None, own: Run | None) -> Iterator[Verdict]:
    """The verdict on one subject of the base's oracles; None if it passes equally with both."""
    subject = _subject(name, theirs)
    status, message = (theirs.status, theirs.message) if theirs else (Status.ERROR, "there is no verdict")
    if theirs and own and mine:
        for case in _listed(theirs):
            if case not in _listed(mine):
                yield _approval(f"{theirs.gate} {case}", f"the change removed it; {message}")
    if own and mine is None:
        yield _approval(subject, f"the change removed it; the base's oracles say {status}: {message}")
    elif status != Status.PASS and mine is not None and mine.status == Status.PASS:
        yield _approval(subject, f"only the change's oracles let it pass; the base's say {status}: {message}")
    elif status != Status.PASS:
        yield Verdict(GATE, subject, status, message)
    elif mine is not None and mine.status != Status.PASS:
        yield Verdict(GATE, subject, mine.status, f"the change's own oracles do not let it pass: {mine.message}")
    elif theirs is not None and mine is not None and _looser(theirs, mine):
        used = f"{mine.limit_fraction:.3g} of the change's limit, {theirs.limit_fraction:.3g} of the base's"
        yield _approval(subject, f"the change's oracles are looser: the same result uses {used}")


def _listed(verdict: Verdict | None) -> Sequence[str]:
    """The subjects that a verdict stands for, if there are several."""
    return verdict.metrics.get("subjects", ()) if verdict else ()


def _looser(theirs: Verdict, mine: Verdict) -> bool:
    """Whether the numbers show that the change's limit is looser: a verdict that uses nothing of a limit cannot."""
    used, own = theirs.limit_fraction, mine.limit_fraction
    return used is not None and used != 0 and own is not None and own * LOOSER < used


def _new(expected: Sequence[str], mine: Mapping[str, Verdict], gates: set[str]) -> Iterator[Verdict]:
    """Subjects that only the change's oracles have, of gates that the base's ran."""
    for name in sorted(mine.keys() - set(expected)):
        if mine[name].gate in gates:
            message = f"new, evaluated by the change only: {mine[name].message}"
            yield Verdict(GATE, _subject(name, mine[name]), mine[name].status, message)


def _approval(subject: str, why: str) -> Verdict:
    return Verdict(GATE, subject, Status.FAIL, f"{APPROVAL}: {why}")


def _waived(verdicts: Mapping[str, Verdict], waivers: Sequence[Waiver], today: str) -> Iterator[Verdict]:
    """The verdicts, with those that a waiver covers passed; and a verdict on each waiver that is expired or
    unneeded."""
    held = {waiver["subject"]: waiver for waiver in waivers}
    for subject, verdict in verdicts.items():
        waiver = held.get(subject)
        if waiver and requires_approval(verdict) and today <= waiver["expires"]:
            message = f"waived until {waiver['expires']}: {waiver['reason']} (it {verdict.message})"
            yield Verdict(GATE, subject, Status.PASS, message, metrics={"waiver": dict(waiver)})
        else:
            yield verdict
    for subject, waiver in held.items():
        if subject not in verdicts or not requires_approval(verdicts[subject]):
            message = f"no longer needed, remove it: {waiver['reason']}"
            yield Verdict(GATE, f"waiver of {subject}", Status.FAIL, message)
        elif today > waiver["expires"]:
            message = f"expired on {waiver['expires']}: {waiver['reason']}"
            yield Verdict(GATE, f"waiver of {subject}", Status.FAIL, message)


def _subject(name: str, verdict: Verdict | None) -> str:
    """Gate and subject, as a waiver names them; ``name`` is the verdict's id."""
    return f"{verdict.gate} {verdict.subject}" if verdict else " ".join(name.split("/", 2)[1:])


def _by_id(run: Run) -> dict[str, Verdict]:
    return {verdict.id: verdict for verdict in run.verdicts}
