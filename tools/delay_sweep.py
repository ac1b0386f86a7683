"""How likely delays show a missing barrier or wait: the named mutants of the races gates under many seeds, on a GPU.

    python -m tools.delay_sweep --seeds 200 --save docs/results/delays-h100.json

Each mutant, and the package without one, runs in a child of its own: decode steps and, where its op has an atomic, the
op. A row says in how many of so many runs the bits differed from those of launches made one after another, without
delays and with them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Required, TypedDict

from braidcheck import kernels, models
from braidcheck.gates.races import delays
from braidcheck.gates.races.measure import race_cases
from braidcheck.gates.races.steps import steps
from braidcheck.mutants import named_faults
from braidcheck.mutants.mutant import Mutant, control, overlay, snapshot
from braidcheck.mutants.sandbox import in_child
from braidcheck.result import json_by_line

GATES = ("races", "step_races")
STEPS = 4  # of ``steps()``, the production backend's and another one
CASES = 2  # of an op, the largest
LIMIT_S = 600.0  # of the processor's time, for each mutant


class Row(TypedDict, total=False):
    """Of a mutant and a subject, the runs whose outputs differ, without and with delays; or why there are none."""

    id: Required[str]
    subject: str
    undelayed: int
    delayed: int
    runs: int
    outcome: str
    said: str


def main() -> None:
    """Write a row for each mutant and subject as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="runs of each mutant and subject")
    parser.add_argument("--save", type=Path, required=True, help="the JSON file")
    parser.add_argument("--only", default="", help="mutants whose id contains this")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="braidcheck-delays-") as folder:
        source = snapshot(Path(folder) / "source")
        for number, mutant in enumerate(_mutants(options.only)):
            tree = overlay(source, mutant, Path(folder) / str(number))
            outcome = in_child(lambda say, tree=tree, mutant=mutant: _measure(tree, mutant, options.seeds), LIMIT_S)
            rows += outcome.get(
                "rows", [{"id": mutant.id, "outcome": outcome["outcome"], "said": outcome.get("said", "")}]
            )
            options.save.write_text(
                json_by_line({"seeds": options.seeds}, "rows", rows, "delay sweep 1"), encoding="utf-8"
            )
            print(*(json.dumps(row) for row in rows if row["id"] == mutant.id), sep="\n", flush=True)


def _mutants(only: str) -> Iterator[Mutant]:
    """The unmutated package, and the named mutants of kernels that sleep that the races gates are to detect."""
    yield control(())
    sleeping = {name for name in kernels.find() if delays.sleeps(name)}
    for mutant in named_faults.named():
        is_race = mutant.expected_detector[0] in GATES and not sleeping.isdisjoint(mutant.ops)
        if is_race and only in mutant.id and not mutant.stale:
            yield mutant


def _measure(tree: Path, mutant: Mutant, seeds: int) -> dict[str, object]:
    package = delays.delayed_package(tree)
    rows: list[Row] = []
    for subject, outputs in _subjects(package, mutant):
        undelayed = len(delays.differing_seeds(outputs, package, [0] * seeds))
        delayed = len(delays.differing_seeds(outputs, package, range(1, seeds + 1)))
        rows.append({"id": mutant.id, "subject": subject, "undelayed": undelayed, "delayed": delayed, "runs": seeds})
    return {"outcome": "measured", "rows": rows}


def _subjects(package: Any, mutant: Mutant) -> Iterator[tuple[str, delays.Outputs]]:
    for name, op in kernels.find().items():
        if delays.has_atomics(name) and (name in mutant.ops or not mutant.ops):
            for case in race_cases(op)[-CASES:]:
                yield case.id, delays.op_outputs(op, case, package)
    for architecture in models.find().values():
        for step in steps(architecture)[:STEPS]:
            yield str(step), delays.step_outputs(architecture, step, package)


if __name__ == "__main__":
    main()
