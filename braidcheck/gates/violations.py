"""The gates of promises, fence, edges, engine and loader: each complaint that a probe makes fails its subject."""

from __future__ import annotations

from collections.abc import Mapping

from braidcheck.result import Status, Verdict


def evaluate(gate: str, subject: str, complaints: Mapping[str, str | None], lane: str = "") -> Verdict:
    """One verdict on what ``evidence.probes`` asked: its complaints by what was asked, None for a kept promise.

    An error where nothing was asked.
    """
    broken = {asked: said for asked, said in complaints.items() if said}
    status, said = Status.PASS, f"keeps {_count(len(complaints))}"
    if not complaints:
        status, said = Status.ERROR, "nothing was asked"
    elif broken:
        asked, complaint = next(iter(broken.items()))
        more = f"; {len(broken) - 1} more of {len(complaints)} fail" if len(broken) > 1 else ""
        status, said = Status.FAIL, f"{'' if asked == subject else f'{asked}: '}{complaint}{more}"
    return Verdict(
        gate=gate,
        subject=subject,
        status=status,
        sentence=said,
        value=len(broken),
        limit=0,
        unit="broken promises",
        lane=lane,
        numbers={"asked": len(complaints), "broken": broken},
    )


def _count(number: int) -> str:
    return "its promise" if number == 1 else f"all of {number} promises"
