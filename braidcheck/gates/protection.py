"""The gate of threshold protection: what only the change's own judges let pass needs a human."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from braidcheck.result import Run, Status, Verdict

GATE = "protection"
HUMAN = "needs a human"
LOOSER = 1.001  # times: two observations of one kernel give the same numbers
Waiver = Mapping[str, str]


def evaluate(
    base: Run,
    own: Run | None,
    edited: Mapping[str, str],
    waivers: Sequence[Waiver] = (),
    today: str = "",
    excused: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Verdict, ...]:
    """Verdicts on a change's kernels, from ``base``, the Run of the base's judges on them.

    ``own`` is the Run of the change's judges on the same kernels; None where ``edited``, the judges that the change
    edits with what each of them decides, is empty. ``excused`` is what the change adds to the lists of exceptions, with
    its reason. A waiver has a ``subject``, a ``reason`` and the last day on which it ``expires``; days are ISO dates.
    What both judges refuse is a failure that no waiver covers.
    """
    theirs, mine = _by_id(base), _by_id(own) if own else {}
    wanted = tuple(dict.fromkeys([*base.expected, *theirs]))
    found = [verdict for name in wanted for verdict in _of_base(name, theirs.get(name), mine.get(name), own)]
    found += _new(wanted, mine, {verdict.gate for verdict in theirs.values()})
    found += [_human(subject, f"the change excuses it: {reason}") for subject, reason in excused.items()]
    passed = sum(verdict.status == Status.PASS for verdict in theirs.values())
    said = [Verdict(GATE, "the base's judges", Status.PASS, f"{passed} of {len(wanted)} subjects pass with them")]
    if edited:
        listed = ", ".join(f"{file} ({why})" for file, why in edited.items())
        files = {"files": dict(edited)}
        said.append(Verdict(GATE, "edited judges", Status.PASS, f"the change edits {listed}", numbers=files))
    return (*said, *_waived({verdict.subject: verdict for verdict in found}, waivers, today))


def needs_human(verdict: Verdict) -> bool:
    """Whether a verdict of this gate waits for a human's word."""
    return verdict.status == Status.FAIL and verdict.sentence.startswith(HUMAN)


def _of_base(name: str, theirs: Verdict | None, mine: Verdict | None, own: Run | None) -> Iterator[Verdict]:
    """What is to say of one subject of the base's judges; nothing where both let it pass alike."""
    subject = _subject(name, theirs)
    status, said = (theirs.status, theirs.sentence) if theirs else (Status.ERROR, "no verdict came")
    for case in _listed(theirs) if own and mine else ():
        if case not in _listed(mine):
            yield _human(f"{theirs.gate} {case}", f"the change removed it; {said}")
    if own and mine is None:
        yield _human(subject, f"the change removed it; the base's judges say {status}: {said}")
    elif status != Status.PASS and mine is not None and mine.status == Status.PASS:
        yield _human(subject, f"only the change's judges let it pass; the base's say {status}: {said}")
    elif status != Status.PASS:
        yield Verdict(GATE, subject, status, said)
    elif mine is not None and mine.status != Status.PASS:
        yield Verdict(GATE, subject, mine.status, f"the change's own judges do not let it pass: {mine.sentence}")
    elif mine is not None and _looser(theirs, mine):
        used = f"the same result uses {mine.used:.3g} of the change's limit, {theirs.used:.3g} of the base's"
        yield _human(subject, f"the change's judges are looser: {used}")


def _listed(verdict: Verdict | None) -> Sequence[str]:
    """The subjects that a verdict stands for, where it stands for several."""
    return verdict.numbers.get("subjects", ()) if verdict else ()


def _looser(theirs: Verdict, mine: Verdict) -> bool:
    """Whether the numbers show that the change's limit is the looser one: nothing of a limit used shows nothing."""
    return bool(theirs.used) and mine.used is not None and mine.used * LOOSER < theirs.used


def _new(wanted: Sequence[str], mine: Mapping[str, Verdict], gates: set[str]) -> Iterator[Verdict]:
    """What only the change's judges know, of the gates that the base's ran."""
    for name in sorted(mine.keys() - set(wanted)):
        if mine[name].gate in gates:
            said = f"new, judged by the change only: {mine[name].sentence}"
            yield Verdict(GATE, _subject(name, mine[name]), mine[name].status, said)


def _human(subject: str, why: str) -> Verdict:
    return Verdict(GATE, subject, Status.FAIL, f"{HUMAN}: {why}")


def _waived(verdicts: Mapping[str, Verdict], waivers: Sequence[Waiver], today: str) -> Iterator[Verdict]:
    """The verdicts, passed where a waiver covers what needs a human; and each waiver that is not as it should be."""
    held = {waiver["subject"]: waiver for waiver in waivers}
    for subject, verdict in verdicts.items():
        waiver = held.get(subject)
        if waiver and needs_human(verdict) and today <= waiver["expires"]:
            said = f"waived until {waiver['expires']}: {waiver['reason']} (it {verdict.sentence})"
            yield Verdict(GATE, subject, Status.PASS, said, numbers={"waiver": dict(waiver)})
        else:
            yield verdict
    for subject, waiver in held.items():
        if subject not in verdicts or not needs_human(verdicts[subject]):
            said = f"no longer needed, take it out: {waiver['reason']}"
            yield Verdict(GATE, f"waiver of {subject}", Status.FAIL, said)
        elif today > waiver["expires"]:
            said = f"expired on {waiver['expires']}: {waiver['reason']}"
            yield Verdict(GATE, f"waiver of {subject}", Status.FAIL, said)


def _subject(name: str, verdict: Verdict | None) -> str:
    """Gate and subject, as a waiver names them; ``name`` is the verdict's id."""
    return f"{verdict.gate} {verdict.subject}" if verdict else " ".join(name.split("/", 2)[1:])


def _by_id(run: Run) -> dict[str, Verdict]:
    return {verdict.id: verdict for verdict in run.verdicts}
