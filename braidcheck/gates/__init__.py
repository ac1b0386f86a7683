"""The gates, one module each: its question, its measurement, and a pure evaluation of what was measured."""

from __future__ import annotations

from importlib import import_module

from braidcheck.gates.gate import Gate

# To add a gate, write its module with GATE = Gate(...) and add its name here. Reports list gates in this order.
NAMES = (
    "accuracy",
    "fence",
    "edges",
    "calls",
    "races",
    "sizes",
    "determinism",
    "vacuity",
    "paths",
    "engine",
    "step_races",
    "loader",
    "targets",
    "coherence",
    "layers",
    "static",
    "timing",
    "paired",
    "speed",
    "speed_targets",
)
GATES: dict[str, Gate] = {name: import_module(f"{__name__}.{name}").GATE for name in NAMES}

# The gates for a user's engine, beside coherence: modules with a QUESTION. They are not pytest items.
ENGINE_NAMES = ("surfaces", "samplers", "throughput")
ENGINE_GATES: dict[str, str] = {name: import_module(f"{__name__}.{name}").QUESTION for name in ENGINE_NAMES}


def table() -> str:
    """The gates as a Markdown table, as docs/gates.md has it between its markers."""
    where = {("gpu",): "GPU", ("interpret",): "CPU", ("interpret", "gpu"): "CPU, GPU"}
    rows = [f"| {gate.name} | {gate.question} | {where[gate.lanes]} |" for gate in GATES.values()]
    rows += [f"| {name} | {question} | `--engine` |" for name, question in ENGINE_GATES.items()]
    return "\n".join(("| gate | question | runs on |", "|---|---|---|", *rows))
