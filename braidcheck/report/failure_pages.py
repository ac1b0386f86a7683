"""Where the documentation explains a failure of each gate: what it means, its usual causes, what to do."""

from __future__ import annotations

from collections.abc import Iterable

from braidcheck.gates import ENGINE_GATES, GATES
from braidcheck.report.failures import Failure

FOLDER = "docs/failures"  # in braidcheck's repository; no address of a published site is known
ENTRIES = {gate.name: f"{FOLDER}/{gate.failure_page}.md#{gate.name}" for gate in GATES.values() if gate.failure_page}
ENTRIES |= {name: f"{FOLDER}/engines.md#{name}" for name in ENGINE_GATES}


def explained_in(failures: Iterable[Failure]) -> list[str]:
    """The entries on the gates that failed, in the order of ``failures``; gates without an entry are omitted."""
    gates = dict.fromkeys(failure.first.gate for failure in failures)
    return [ENTRIES[gate] for gate in gates if gate in ENTRIES]
