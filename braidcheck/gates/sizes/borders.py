"""The sizes to test along an axis: both sides of every border at which the code may take another path.

Borders are the powers of two, as blocks and buckets have them; the whole numbers in the source of the wrapper, its
kernels and what they share, where a comparison or a remainder may switch; and the sizes between which the recorded
launches change, found by bisection.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from braidcheck.gates.sizes.launches import Launch
from braidcheck.gates.under_test import code, is_candidate, module, wrapper

Launches = Callable[[int], tuple[Launch, ...]]
PACKAGE = "braidcheck"
MIN_LIMIT = 64
LIMITS = ("min", "max", "minimum", "maximum", "clamp")
VALUES_OF = {"int8": 2**7, "uint8": 2**8, "int16": 2**15, "uint16": 2**16}
MAX_COMPILED = 10  # sizes of a sweep for which a GPU recompiles, which takes seconds each


def ladder(max_size: int) -> set[int]:
    """The powers of two, the size after each and before every other one: full blocks and tails of two kinds."""
    powers = [1 << exponent for exponent in range(max_size.bit_length())]
    return {*powers, *(power + 1 for power in powers), *(power - 1 for power in powers[::2])}


def on_both_sides(numbers: Iterable[int]) -> set[int]:
    """Each number and the next, except for powers of two, which are on the ladder."""
    return {size for number in numbers if number & (number - 1) for size in (number, number + 1)}


def drawn(max_size: int, count: int, seed: int) -> set[int]:
    """``count`` random sizes, equally many of every order of magnitude."""
    dice = random.Random(seed)
    return {min(max_size, int(2 ** dice.uniform(0, max_size.bit_length()))) for _ in range(count)}


def allowed(sizes: Iterable[int], max_size: int, step: int) -> list[int]:
    """Those from ``step`` to ``max_size``, each rounded up to a multiple of ``step``, in order."""
    return sorted({size for size in (-(-size // step) * step for size in sizes) if 0 < size <= max_size})


def affordable(sizes: list[int], launches: Launches, always: Iterable[int]) -> list[int]:
    """``sizes`` without most of those for which a GPU recompiles. About MAX_COMPILED of these stay, evenly spread, and
    those of ``always``.
    """
    known: set[object] = set()
    fresh = []
    for size in sizes:
        compiled = {launch.compiled for launch in launches(size)}
        if not compiled <= known:
            fresh.append(size)
            known |= compiled
    kept = {*fresh[:: max(1, -(-len(fresh) // MAX_COMPILED))], *fresh[-1:], *always}
    return [size for size in sizes if size not in fresh or size in kept]


def switches(sizes: list[int], launches: Launches, step: int) -> Iterator[int]:
    """The two sizes at every change of launches that lies between two neighbours of ``sizes``."""
    known = {size: launches(size) for size in sizes}
    for low, high in itertools.pairwise(sizes):
        if high - low == step or not _differ(known[low], known[high]):
            continue
        while high - low > step:
            middle = (low + high) // (2 * step) * step
            known[middle] = launches(middle)
            low, high = (low, middle) if _differ(known[low], known[middle]) else (middle, high)
        yield from (low, high)


def _differ(one: tuple[Launch, ...], other: tuple[Launch, ...]) -> bool:
    """Whether launches differ in kernels or constants, or in the number of programs by one: larger differences follow
    from more blocks."""
    if [launch.code for launch in one] != [launch.code for launch in other]:
        return True
    pairs = ((mine, yours) for a, b in zip(one, other, strict=True) for mine, yours in zip(a.grid, b.grid, strict=True))
    return any(abs(mine - yours) == 1 for mine, yours in pairs)


def numbers_of(op: str) -> set[int]:
    """The integers in the source of the op under test that may be a border."""
    return {number for file in _files(op) for number in _numbers(file.read_text(encoding="utf-8"))}


def own_limits(op: str) -> set[int]:
    """The sizes around limits that the op's own files, or a candidate's, name: few enough to test wherever they are.
    Small ones are on the ladders."""
    numbers = {number for file in _own_files(op) for number in _numbers(file.read_text(encoding="utf-8"))}
    return {number + more for number in numbers if number >= MIN_LIMIT for more in (0, 1, 2)}


def _own_files(op: str) -> set[Path]:
    tested = wrapper(op)
    if is_candidate(op):
        return {file} if (file := getattr(tested, "file", None)) else set()
    return {Path(inspect.getfile(one)) for one in code(op)}


def _files(op: str) -> set[Path]:
    """The op's wrapper and device code, and the shared files that they use."""
    files, todo = set(), code(op)
    while todo:
        one = todo.pop()
        file = Path(inspect.getfile(one))
        if file not in files:
            files.add(file)
            todo += _shared(one)
    return files


def _shared(one: ModuleType) -> Iterator[ModuleType]:
    return map(module, _imported(inspect.getsource(one)))


@cache
def _imported(source: str) -> tuple[str, ...]:
    """The modules below the package that are imported from ``kernels.common``."""
    names: list[str] = []
    for node in ast.walk(_tree(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}.kernels.common"):
            name = (node.module or "").removeprefix(f"{PACKAGE}.")
            names += [f"{name}.{each.name}" for each in node.names] if name == "kernels.common" else [name]
    return tuple(names)


@cache
def _numbers(source: str) -> frozenset[int]:
    """Numbers above 4 in comparisons, limits, masks and remainders, those that have a name of their own, and how many
    values the narrow types have that something is cast to."""
    numbers: set[int] = set()
    for node in ast.walk(_tree(source)):
        parts: list[ast.expr | None] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and _name(node.func) in LIMITS:
            parts = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.Attribute) and node.attr in VALUES_OF:
            numbers.add(VALUES_OF[node.attr])
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.FloorDiv | ast.BitAnd):
            parts = [node.right]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            parts = [node.value]
        numbers.update(value for part in parts for value in _values(part) if 4 < value < 1 << 31)
    return frozenset(numbers)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


def _values(node: ast.expr | None) -> Iterator[int]:
    """The whole numbers that ``node`` is or holds, such as 1 << 12, 2e5, int(2e5) and the parts of a tuple."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        yield from [int(node.value)] if node.value % 1 == 0 else []
    elif isinstance(node, ast.Call) and _name(node.func) == "int":
        yield from (value for part in node.args for value in _values(part))
    elif isinstance(node, ast.BinOp):
        sides = [*_values(node.left)], [*_values(node.right)]
        if sides[0] and sides[1] and isinstance(node.op, ast.Pow | ast.LShift) and sides[1][0] < 64:
            yield sides[0][0] ** sides[1][0] if isinstance(node.op, ast.Pow) else sides[0][0] << sides[1][0]
        else:
            yield from (*sides[0], *sides[1])
    elif isinstance(node, ast.Tuple | ast.List):
        for part in node.elts:
            yield from _values(part)
