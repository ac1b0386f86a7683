"""Where the documentation explains a failure of each gate: what it means, its usual causes, what to do."""

from __future__ import annotations

from collections.abc import Iterable

from braidcheck.report.failures import Failure

FOLDER = "docs/failures"  # in braidcheck's repository; no address of a published site is known
PAGES = {
    "numbers": ("accuracy", "sizes", "targets"),
    "memory": ("fence", "edges", "calls"),
    "order": ("races", "step_races", "determinism"),
    "model": ("engine", "loader", "coherence", "layers"),
    "coverage": ("vacuity", "paths"),
    "speed": ("static", "timing", "paired", "speed", "speed_targets"),
    "engines": ("surfaces", "samplers", "throughput"),
}
ENTRIES = {gate: f"{FOLDER}/{page}.md#{gate}" for page, gates in PAGES.items() for gate in gates}


def explained_in(failures: Iterable[Failure]) -> list[str]:
    """The entries on the gates that failed, in the order of ``failures``; a gate without an entry is left out."""
    gates = dict.fromkeys(failure.first.gate for failure in failures)
    return [ENTRIES[gate] for gate in gates if gate in ENTRIES]
