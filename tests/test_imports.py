"""The order of the rooms: each imports only what lies before it, as design has it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import braidcheck

ROOT = Path(braidcheck.__file__).parent
ORDER = (
    ("op", "arch", "result", "errors", "settings", "environment", "gpu_memory", "gpu_claim"),
    ("numerics",),
    ("kernels",),
    ("models",),
    ("golden", "static"),
    ("evidence", "benchmarks"),
    ("mutants", "ci"),
    ("report",),
    ("schedule",),
    ("suite", "plugin", "cli", "__main__"),
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imported(path):
    """The parts after ``braidcheck.`` of all that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {name.removeprefix("braidcheck.") for name in found if name.startswith("braidcheck.")}
    return {name for name in inside if name.split(".")[0] in RANK or name.startswith("gates")}


def forbidden(path, names):
    room = path.parts[0].removesuffix(".py")
    for wanted in names:
        other, _, rest = wanted.partition(".")
        if room == "gates":
            allowed = other in ("gates", "op", "result")
        elif other == "gates":
            allowed = RANK[room] > RANK["evidence"]
        else:
            allowed = RANK[other] <= RANK[room]
        part = rest.split(".")[0]
        if room == other == "kernels" and part and part != "common":
            allowed = path.parts[1:2] == (part,)
        if not allowed:
            yield wanted


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_order_of_the_rooms(path):
    relative = path.relative_to(ROOT)
    room = relative.parts[0].removesuffix(".py")
    assert room in RANK or room == "gates", f"{room} is no room of the house: give it a place in ORDER"
    assert not sorted(forbidden(relative, imported(path)))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("kernels/rms_norm/__init__.py", "kernels.qkv_rope"),
        ("kernels/rms_norm/__init__.py", "golden.store"),
        ("gates/accuracy.py", "evidence.op"),
        ("evidence/op.py", "gates.accuracy"),
        ("report/rows.py", "cli"),
    ],
)
def test_the_order_can_be_broken(path, name):
    assert list(forbidden(Path(path), [name])) == [name]


def test_nothing_imports_torch_before_it_is_needed():
    modules = "braidcheck, braidcheck.plugin, braidcheck.cli, braidcheck.gates, braidcheck.kernels"
    code = f"import sys, {modules}; sys.exit(bool({{'torch', 'triton', 'transformers'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
