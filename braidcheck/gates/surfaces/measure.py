"""Tests an engine on all surfaces, cell by cell, and repeats failures as the first request of a fresh process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from braidcheck.engines.client import Client
from braidcheck.engines.process import EngineError
from braidcheck.gates.surfaces.ask import Asker, NotServed
from braidcheck.gates.surfaces.cell import CellResult, Surroundings
from braidcheck.gates.surfaces.cells import all_cells
from braidcheck.gates.surfaces.evidence import Cell, Evidence, Outcome
from braidcheck.gates.surfaces.truth import Request

MAX_FRESH = 3  # failures that are repeated in a fresh process
MAX_FRESH_BATCH = 33  # prompts


def measure_surfaces(
    client: Client, evidence: Evidence, around: Surroundings, say: Callable[[str], None] = lambda text: None
) -> None:
    """Add to ``evidence`` every cell of the table, and failures repeated as the first request of a fresh process."""
    asker, cells = Asker(client), all_cells()
    for number, (name, function) in enumerate(cells, 1):
        say(f"surfaces: {name} ({number} of {len(cells)})")
        evidence["cells"].append(_cell(name, partial(function, asker, around)))
    say("surfaces: repeating failures in a fresh process")
    evidence["fresh"] += _fresh(asker, evidence["cells"])


def _cell(name: str, function: Callable[[], CellResult]) -> Cell:
    began = time.monotonic()
    result, skipped, error = CellResult(), "", ""
    try:
        result = function()
    except NotServed as reason:
        skipped = str(reason)
    except EngineError as how:
        error = str(how)
    return {
        "name": name,
        "outcomes": result.outcomes,
        "skipped": skipped,
        "error": error,
        "seconds": time.monotonic() - began,
        "differing": result.differing,
        "compared": result.compared,
        "must_be_equal": result.must_be_equal,
    }


def _fresh(asker: Asker, cells: list[Cell]) -> Iterator[Outcome]:
    """The first failures of different cells, each as the first request of a fresh process."""
    wrong = [next((one for one in cell["outcomes"] if one["wrong_at"] is not None), None) for cell in cells]
    chosen: dict[tuple[str, int, int, int], tuple[Outcome, Sequence[Request]]] = {}
    for outcome in filter(None, wrong):
        requests = next((requests for made, requests in asker.made if made is outcome), ())
        if requests and outcome["after"] and not outcome["together"] and len(requests) <= MAX_FRESH_BATCH:
            key = outcome["phase"], outcome["document"], outcome["length"], outcome["batch"]
            chosen.setdefault(key, (outcome, requests))
    for outcome, requests in list(chosen.values())[:MAX_FRESH]:
        asker.restart()
        try:
            yield from _again(asker, outcome, requests)
        except EngineError:
            return


def _again(asker: Asker, outcome: Outcome, requests: Sequence[Request]) -> list[Outcome]:
    if outcome["batch"] > 1:
        return asker.batch(requests)
    return asker.single(requests[0]) if outcome["phase"] == "prefill" else [asker.greedy(requests[0])]
