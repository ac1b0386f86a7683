"""A page for each op: signature, contract, bound and cases."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from braidcheck import kernels
from braidcheck.cli import bounds
from braidcheck.cli.overview import signature, summary
from braidcheck.mutants.mutant import Mutant
from braidcheck.op import PROFILES, Op
from tools.site.markdown import code, table

HEAD = """# Ops

`braidcheck list` prints them. Each is a folder of `braidcheck/kernels/`; [own ops](../own-ops.md) are declared alike.
"""


def pages(faults: Sequence[Mutant]) -> dict[str, str]:
    """The page of every op and a list of them, by their place in the reference; ``faults`` are planted in them."""
    ops, published = kernels.find(), bounds.read()
    rows = [(f"[`{op.name}`](ops/{op.name}.md)", summary(op), str(len(op.cases))) for op in ops.values()]
    made = {f"ops/{name}.md": page(op, published, faults) for name, op in ops.items()}
    return {"ops.md": f"{HEAD}\n{table(('op', 'what it computes', 'cases'), rows)}", **made}


def page(op: Op, published: Mapping[str, Mapping[str, Any]], faults: Iterable[Mutant]) -> str:
    """The page of one op, from its declaration."""
    contract = op.contract
    parts = (
        f"# {op.name}\n\n```python\n{signature(op)}\n```\n\n{inspect.getdoc(op.call)}\n",
        f"## Bound\n\n{_derivation(op)}\n",
        f"## Contract\n\n- Outputs: {', '.join(f'`{name}` in `{kind}`' for name, kind in contract.outputs.items())}",
        f"- Accumulator: {contract.accumulator}",
        f"- Written in place: {', '.join(map(code, contract.mutates)) or 'nothing'}",
        f"- Permitted casts: {'; '.join(contract.casts) or 'none'}",
        f"- {_invariance(contract.batch_invariant)}\n",
        _ratios(op.name, published),
        f"## Negative controls\n\nWrong results that some case must detect: {'; '.join(op.negative_controls)}.\n",
        f"## Named faults\n\n{_faults(op.name, faults)}\n",
        f"## Cases\n\n{_cases(op)}",
    )
    return "\n".join(parts)


def _derivation(op: Op) -> str:
    """The docstring of the oracle's module."""
    return inspect.getdoc(sys.modules[op.reference.__module__]) or ""


def _invariance(rows: int) -> str:
    among = {0: "No promise about a row's bits among other rows", 1: "A row keeps its bits among any number of rows"}
    return among.get(int(rows), f"A row's bits are the same among {rows} rows or more")


def _ratios(op: str, published: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for lane, entries in published.items():
        if op in entries:
            entry = entries[op]
            how = f"{lane}, {entry['machine']}, {entry['date']}"
            rows += [(one["function"], f"{float(one['error_ratio']):.3f}", how) for one in entry["functions"]]
    text = table(("function", "worst error ratio", "measured"), rows) or "None was published yet.\n"
    return f"## Published error ratios\n\nThe gate is at 1; equivalent implementations must stay below 0.5.\n\n{text}"


def _faults(op: str, faults: Iterable[Mutant]) -> str:
    return "\n".join(f"- {fault.description}" for fault in faults if fault.part == op) or "None of its own."


def _cases(op: Op) -> str:
    def sizes(axes: Mapping[str, int]) -> str:
        return ", ".join(f"{name} {size}" for name, size in axes.items())

    rows = [(case.dtype, case.profile, sizes(case.axes), "GPU" if case.large else "CPU, GPU") for case in op.cases]
    met = sorted({case.profile for case in op.cases})
    profiles = table(("profile", "numbers"), [(code(name), PROFILES[name]) for name in met])
    return f"{table(('dtype', 'profile', 'sizes', 'runs on'), rows)}\n{profiles}"
