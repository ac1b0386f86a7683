"""The mutants gate: how many deliberate faults do the gates catch? Evaluates kill matrices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from braidcheck.result import Status, Verdict

GATE = "mutants"
FLOORS = {"named": 0.95, "generated": 0.90}  # of one lane
FLOORS_OVER_ALL = {"named": 1.0, "generated": 0.95}
EQUIVALENT_LIMIT = 0.05  # maximum fraction of the generated mutants that may be listed as equivalent
CAUGHT = ("killed", "crash", "timeout")
BROKEN = ("stale", "error")
MAX_NAMES = 6
BLAME_FLOOR = 0.95  # of the mutants that the coherence gate catches

Matrix = Mapping[str, Any]
Row = Mapping[str, Any]


def evaluate(matrices: Sequence[Matrix]) -> tuple[Verdict, ...]:
    """A verdict for each kind of mutant and lane, over all lanes if there are several, and on the runs themselves. A
    matrix is made by ``mutants.runner``: ``lane`` and ``mutants``, one row each with id, kind, outcome (killed, crash,
    timeout, survived, stale, error) and, if it is listed as equivalent, ``equivalent``. Equal compiled code does not
    excuse a survivor: code that no case launches is not compiled.
    """
    verdicts = [verdict for matrix in matrices for verdict in (_soundness(matrix), *_verdicts_on_lane(matrix))]
    matrices = [matrix for matrix in matrices if not matrix.get("blame")]
    if len(matrices) > 1:
        rows = merged(matrices)
        kinds = [kind for kind in FLOORS_OVER_ALL if _of_kind(rows, kind)]
        verdicts += [_score(rows, kind, "all lanes", FLOORS_OVER_ALL[kind]) for kind in kinds]
    return tuple(verdicts)


def settled(matrices: Iterable[Matrix]) -> set[str]:
    """The names of the mutants caught in some lane."""
    return {row["id"] for matrix in matrices for row in matrix["mutants"] if row["outcome"] in CAUGHT}


def merged(matrices: Iterable[Matrix]) -> list[Row]:
    """One row per mutant: the one of a lane that catches it, if any does."""
    best: dict[str, Row] = {}
    for row in (row for matrix in matrices for row in matrix["mutants"]):
        if row["id"] not in best or row["outcome"] in CAUGHT:
            best[row["id"]] = row
    return list(best.values())


def score(rows: Iterable[Row]) -> tuple[int, int]:
    """How many were caught, of how many; without equivalent mutants and those that could not be tried."""
    counted = [row for row in rows if row["outcome"] in (*CAUGHT, "survived") and not row.get("equivalent")]
    return sum(row["outcome"] in CAUGHT for row in counted), len(counted)


def survivors(rows: Iterable[Row]) -> list[str]:
    """The names of the mutants that no gate caught."""
    return [row["id"] for row in rows if row["outcome"] == "survived" and not row.get("equivalent")]


def _of_kind(rows: Iterable[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind]


def _verdicts_on_lane(matrix: Matrix) -> list[Verdict]:
    rows, lane = matrix["mutants"], matrix["lane"]
    if matrix.get("blame"):
        return [_blame(rows, lane)]
    named, generated = _of_kind(rows, "named"), _of_kind(rows, "generated")
    verdicts = [_score(named, "named", lane, FLOORS["named"])] if named else []
    if generated and not matrix.get("left_out"):  # a score among mutants that another lane missed would be meaningless
        verdicts += [_score(generated, "generated", lane, FLOORS["generated"]), _equivalents(generated, lane)]
    return verdicts


def _score(rows: Sequence[Row], kind: str, lane: str, floor: float) -> Verdict:
    caught, total = score(_of_kind(rows, kind))
    left = survivors(_of_kind(rows, kind))
    value = caught / total if total else 0.0
    named = f"; not by name: {', '.join(left[:MAX_NAMES])}" if left else ""
    more = f" and {len(left) - MAX_NAMES} more" if len(left) > MAX_NAMES else ""
    message = f"{caught} of {total} {kind} mutants are caught{named}{more}"
    return _share(f"{kind}, {lane}", value, floor, message, {"caught": caught, "total": total, "survivors": left})


def blamed_correctly(row: Row) -> bool:
    """Whether all blamed ops contain the fault, or none was blamed for a fault outside of ops."""
    suspects = set(row["blame"].get("ops", ["nothing found"]))
    return suspects <= set(row["ops"]) and bool(suspects) == bool(row["ops"])


def _blame(rows: Sequence[Row], lane: str) -> Verdict:
    reached = [row for row in rows if "blame" in row and row["kind"] in FLOORS]
    wrong = [row["id"] for row in reached if not blamed_correctly(row)]
    value = 1 - len(wrong) / len(reached) if reached else 0.0
    named = f"; wrong for {', '.join(wrong[:MAX_NAMES])}" if wrong else ""
    message = f"{len(reached) - len(wrong)} of {len(reached)} mutants that the model detects name the right op{named}"
    return _share(f"blame, {lane}", value, BLAME_FLOOR, message, {"reached": len(reached), "wrong": wrong})


def _share(subject: str, value: float, floor: float, message: str, metrics: Mapping[str, Any]) -> Verdict:
    """A verdict on a fraction of the mutants, which must be at least ``floor``."""
    return Verdict(
        gate=GATE,
        subject=subject,
        status=Status.PASS if value >= floor else Status.FAIL,
        message=message,
        value=value,
        limit=floor,
        higher_is_better=True,
        unit="of the mutants",
        metrics=metrics,
    )


def _equivalents(rows: Sequence[Row], lane: str) -> Verdict:
    listed = [row["id"] for row in rows if row.get("equivalent")]
    share = len(listed) / len(rows)
    return Verdict(
        gate=GATE,
        subject=f"equivalents, {lane}",
        status=Status.PASS if share <= EQUIVALENT_LIMIT else Status.FAIL,
        message=f"{len(listed)} of {len(rows)} generated mutants are listed as equivalent",
        value=share,
        limit=EQUIVALENT_LIMIT,
        unit="of the mutants",
    )


def _soundness(matrix: Matrix) -> Verdict:
    """Whether the run is sound: nothing stale or broken, no false alarm, no wrongly listed equivalent."""
    rows = matrix["mutants"]
    problems = [f"{matrix['missing']} trials are missing: the run did not end"] if matrix.get("missing") else []
    problems += [f"{row['id']} is {row['outcome']}: {row['said']}" for row in rows if row["outcome"] in BROKEN]
    for row in rows:
        if row["kind"] == "control" and row["outcome"] in CAUGHT:
            problems.append(f"{row['gate']} fails the unmutated package, at {row['subject']}: {row['said']}")
        elif row.get("equivalent") and row["outcome"] in CAUGHT:
            problems.append(f"{row['id']} is listed as equivalent, but {row['gate']} catches it: unlist it")
    message = f"{len(rows)} trials, none stale or broken, and no gate fails the unmutated package"
    return Verdict(
        gate=GATE,
        subject=f"trials, {matrix['lane']}",
        status=Status.ERROR if problems else Status.PASS,
        message="; ".join(problems[:MAX_NAMES]) if problems else message,
        value=float(len(problems)),
        limit=0.0,
        unit="unsound trials",
        seconds=matrix["seconds"],
        metrics={"unsound": problems},
    )
