"""Runs cases, small and dissimilar ones first, until every path has run or no case is left."""

from __future__ import annotations

import math
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType

from braidcheck.gates.paths import COMMON, Evidence
from braidcheck.gates.paths.recording import KERNELS, asked_configs, branches, ran_branches
from braidcheck.gates.under_test import code, module, wrapper
from braidcheck.numerics.calls import copies, poisoned_outputs, run
from braidcheck.op import Case, Op


def measure_paths(ops: Mapping[str, Op], excused: Mapping[str, str]) -> list[Evidence]:
    """The evidence on each op and on the shared code; does not wait for ``excused`` paths."""
    shipped = {op: _shipped(op) for op in ops} | {COMMON: _shared()}
    with recorded() as ran:
        for op in ops.values():
            _run_until(ran, shipped[op.name] - excused.keys(), [(op, case) for case in _unlike_first(op)])
        rest = [(op, case) for op in ops.values() for case in _unlike_first(op)]
        _run_until(ran, shipped[COMMON] - excused.keys(), sorted(rest, key=lambda pair: _elements(pair[1])))
    return [
        {"part": part, "paths": sorted(paths), "missing": sorted(paths - ran()), "ran": sorted(paths & ran())}
        for part, paths in shipped.items()
    ]


def _shipped(op: str) -> set[str]:
    """The branches of an op's kernels, and the launch configs of this process's GPU class."""
    configs = module("kernels.common.configs")
    keys = (key for key in configs.configs() if key[0] == op)
    return {path for source in code(op) for path in _of_module(source)} | {_config_name(key) for key in keys}


def _shared() -> set[str]:
    """The branches of the device functions that ops share."""
    files = pkgutil.iter_modules(module("kernels.common").__path__)
    return {path for file in files for path in _of_module(module(f"kernels.common.{file.name}"))}


def _of_module(source: ModuleType) -> Iterator[str]:
    from triton.runtime.interpreter import InterpretedFunction

    for value in vars(source).values():
        if isinstance(value, InterpretedFunction) and value.fn.__module__ == source.__name__:
            yield from (_path(f"{source.__name__}: {branch}") for branch in branches(value.fn))


def _path(branch: str) -> str:
    """The name of a branch, with the folder of its file: "rms_norm: _rms_norm: if HAS_RESIDUAL"."""
    where, _, name = branch.partition(": ")
    return f"{where.removeprefix(KERNELS).removesuffix('.kernel')}: {name}"


def _config_name(key: Sequence[object]) -> str:
    op, regime, bucket = key
    return f"{op}: config {regime.name} {bucket.name}"  # type: ignore[attr-defined]


def _unlike_first(op: Op) -> list[Case]:
    """The cases that the interpreter can run, small ones first, and before all others one of each combination of dtype,
    arguments and magnitude of the first axis, which select the launch."""
    cases = sorted((case for case in op.cases if not case.large and _elements(case)), key=_elements)
    met: Counter[object] = Counter()
    likes: dict[str, int] = {}
    for case in cases:
        kind = case.dtype, case.needs, next(iter(case.axes.values())).bit_length()
        likes[case.id] = met[kind]
        met[kind] += 1
    return sorted(cases, key=lambda case: (likes[case.id], _elements(case)))


def _elements(case: Case) -> int:
    return math.prod(case.axes.values())


@contextmanager
def recorded() -> Iterator[Callable[[], set[str]]]:
    """A context that gives a function, which returns the paths that ran so far."""
    with ran_branches() as ran, asked_configs() as requested:
        yield lambda: {_path(branch) for branch in ran} | {_config_name(key) for key in requested}


def _run_until(ran: Callable[[], set[str]], missing: set[str], cases: Sequence[tuple[Op, Case]]) -> None:
    """Run the cases until ``ran()`` covers all ``missing`` paths."""
    for op, case in cases:
        if missing <= ran():
            return
        inputs = op.inputs(case, "cpu")
        with poisoned_outputs():
            run(op, wrapper(op.name), copies(inputs))
