"""A copy of the package whose kernels sleep between their statements: results must keep their bits.

In a kernel with PDL or an atomic, every statement that accesses memory, is a barrier or calls PDL is preceded by a
sleep of some warps (``sleep.py``). Warps are delayed, not whole programs: a missing barrier leaves the order of a
program's warps undefined.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from braidcheck import scratch
from braidcheck.ci.paired import slower
from braidcheck.environment import PACKAGE
from braidcheck.gates.gate import Check
from braidcheck.gates.races.measure import race_cases
from braidcheck.gates.races.steps import Step, steps, tiny_decoder, tiny_model, tiny_prompt
from braidcheck.gates.under_test import module
from braidcheck.gates.under_test.package import PackageUnderTest
from braidcheck.models.architecture import Architecture
from braidcheck.numerics.calls import copies, run
from braidcheck.op import Case, Op

SEEDS = range(1, 5)  # of the gate; the sweep uses more
TOKENS = 8  # decode steps of a run: one of the decoder's graphs
# Called names that are not device functions.
PLAIN_CALLS = ("range", "float", "int", "min", "max", "tuple")
TOUCHES = ("load", "store", "debug_barrier", "launch_dependents", "grid_dependency_wait")
Outputs = Callable[[bool], list[Tensor]]  # runs an op or decode steps, with PDL or with serialized launches
_trees: dict[Path, tuple[PackageUnderTest, object]] = {}


def delayed_tree(source: Path, folder: Path) -> Path:
    """A copy of the package ``source`` in ``folder`` whose kernels with PDL or an atomic sleep by a seed."""
    package = folder / PACKAGE.name
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / PACKAGE.name, package, ignore=ignored, copy_function=os.link)
    texts = {path: path.read_text(encoding="utf-8") for path in (package / "kernels").rglob("*.py")}
    kernels = slower.launched(texts.values()) & {name for text in texts.values() for name in _shared_memory(text)}
    for path, text in texts.items():
        if (late := delayed(text, kernels)) != text:
            path.unlink()  # it is a link to the original
            path.write_text(late, encoding="utf-8")
    return folder


def _shared_memory(text: str) -> Iterator[str]:
    """The functions of a source that use PDL or an atomic."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            arguments = {argument.arg for argument in node.args.args}
            names = {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
            if "USE_PDL" in arguments or any(name.startswith("atomic_") for name in names):
                yield node.name


def delayed(text: str, kernels: set[str]) -> str:
    """The source ``text`` with sleeping ``kernels`` and launches that pass the seed; unchanged if it has neither."""
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    launches = [node for node in nodes if isinstance(node, ast.Call) and slower.launch_in(node) in kernels]
    late = [kernel for node in nodes if (kernel := slower.kernel_in(node)) and kernel.name in kernels]
    if not launches and not late:
        return text
    for call in launches:
        call.args.insert(0, ast.parse("sleep.seed()", mode="eval").body)
    for node in late:
        _delay(node)
    first = 1 + max((index for index, node in enumerate(tree.body) if isinstance(node, ast.ImportFrom)), default=-1)
    tree.body[first:first] = ast.parse("from braidcheck.gates.races import sleep").body
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _delay(kernel: ast.FunctionDef) -> None:
    places = iter(range(1000))
    start = 1 if ast.get_docstring(kernel) else 0
    kernel.body[start:] = [
        *ast.parse("_seed = tl.load(_seed_ptr)").body,
        *_with_sleeps(kernel.body[start:], places),
    ]
    kernel.args.args[:0] = [ast.arg("_seed_ptr")]


def _with_sleeps(body: Sequence[ast.stmt], places: Iterator[int]) -> list[ast.stmt]:
    """The statements, with a sleep before each that accesses memory."""
    late: list[ast.stmt] = []
    for statement in body:
        blocks = [name for name in ("body", "orelse") if getattr(statement, name, None)]
        if _touches(statement, blocks):
            late += ast.parse(f"sleep.sleep(_seed, {next(places)})").body
        for name in blocks:
            setattr(statement, name, _with_sleeps(getattr(statement, name), places))
        late.append(statement)
    return late


def _touches(statement: ast.stmt, blocks: Sequence[str]) -> bool:
    """Whether a statement, apart from its nested ``blocks``, accesses memory or calls a device function, which may."""
    if isinstance(statement, ast.AnnAssign):  # a constexpr
        return False
    own = [value for name, value in ast.iter_fields(statement) if name not in blocks and isinstance(value, ast.AST)]
    calls = [node for part in own for node in ast.walk(part) if isinstance(node, ast.Call)]
    names = [call.func.id for call in calls if isinstance(call.func, ast.Name)]
    methods = [call.func.attr for call in calls if isinstance(call.func, ast.Attribute)]
    return bool(set(names) - set(PLAIN_CALLS)) or any(
        method in TOUCHES or method.startswith("atomic_") for method in methods
    )


def delayed_package(source: Path | None = None) -> PackageUnderTest:
    """The delayed copy of the package ``source``, by default the one under test; made once per process."""
    source = source or Path(module("kernels").__file__).parents[2]
    if source not in _trees:
        # Its files must exist as long as the process may compile its kernels.
        folder = scratch.Folder("delayed")
        _trees[source] = PackageUnderTest(delayed_tree(source, folder.path)), folder
    return _trees[source][0]


def has_atomics(op: str) -> bool:
    """Whether an op's programs share an atomic: otherwise delays cannot reveal a race between them."""
    return any("atomic_" in text for text in _texts(op))


def sleeps(op: str) -> bool:
    """Whether any kernel of an op sleeps in the delayed package."""
    return any(True for text in _texts(op) for _ in _shared_memory(text))


def _texts(op: str) -> list[str]:
    folder = Path(module(f"kernels.{op}").__file__).parent
    return [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]


def delayed_cases(op: Op) -> Iterator[tuple[str, Check]]:
    """The checks of one op on a GPU: cases whose bits must not change under delays."""
    for case in race_cases(op):
        yield case.id, partial(op_violation, op, case)


def op_violation(op: Op, case: Case) -> str | None:
    """Which delay seeds change the bits of an op's outputs; None if none does."""
    return _violation(differing_seeds(op_outputs(op, case, delayed_package()), delayed_package(), SEEDS))


def op_outputs(op: Op, case: Case, package: PackageUnderTest) -> Outputs:
    """Runs an op of a delayed package."""
    inputs = op.inputs(case, "cuda")
    call = getattr(package.module(f"kernels.{op.name}"), op.name)

    def outputs(overlap: bool) -> list[Tensor]:
        pdl = package.module("kernels.common.pdl")
        with pdl.programmatic_dependent_launch() if overlap else nullcontext():
            return list(run(op, call, copies(inputs)))

    return outputs


def delayed_steps(architecture: Architecture) -> Iterator[tuple[str, Check]]:
    """The check of each of ``steps()`` on a GPU."""
    for step in steps(architecture):
        yield str(step), partial(step_violation, architecture, step)


def step_violation(architecture: Architecture, step: Step) -> str | None:
    """Which delay seeds change the tokens or the cache of decode steps; None if none does."""
    return _violation(differing_seeds(step_outputs(architecture, step, delayed_package()), delayed_package(), SEEDS))


def step_outputs(architecture: Architecture, step: Step, package: PackageUnderTest) -> Outputs:
    """Runs decode steps of a delayed package: the tokens, or a prompt's last row, and the caches."""
    model = tiny_model(architecture, step, "cuda", package.module)

    def outputs(overlap: bool) -> list[Tensor]:
        model.use_cuda_graph = overlap  # launches overlap only in a graph
        if step.prompt:
            return prefilled(overlap)
        decoder = tiny_decoder(model, step, package.module)
        return [decoder.run(TOKENS), *decoder.cache.k, *decoder.cache.v]

    def prefilled(overlap: bool) -> list[Tensor]:
        graph, ids = tiny_prompt(model, package.module)
        if overlap:
            graph.prefill_into_cache(ids)  # the next one is recorded
        h = graph.prefill_into_cache(ids) if overlap else model.prefill_into_cache(ids, graph.cache)
        return [h, *graph.cache.parts]

    return outputs


def differing_seeds(outputs: Outputs, package: PackageUnderTest, seeds: Iterable[int]) -> list[int]:
    """The seeds that give other bits than serialized launches without delays; seed 0 delays nothing."""
    sleep = package.module("gates.races.sleep")
    sleep.set_seed(0, "cuda")
    expected = outputs(False)
    late = []
    for seed in seeds:
        sleep.set_seed(seed, "cuda")
        if not all(torch.equal(_bits(one), _bits(other)) for one, other in zip(outputs(True), expected, strict=True)):
            late.append(seed)
    sleep.set_seed(0, "cuda")
    return late


def _violation(late: Sequence[int]) -> str | None:
    return f"delays of warps change its bits: seeds {', '.join(map(str, late))} of {len(SEEDS)}" if late else None


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(torch.uint8)
