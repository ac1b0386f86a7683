"""The order of the packages: each imports only what lies before it, as DESIGN.md has it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import braidcheck

ROOT = Path(braidcheck.__file__).parent
ORDER = (
    ("op", "arch", "format_1", "checksum", "result", "errors", "config", "external_ops", "settings"),
    ("environment", "gpu_memory", "gpu_claim", "processes", "scratch", "autosave"),
    ("isolation",),
    ("numerics",),
    ("kernels",),
    ("models",),
    ("golden", "static", "engines"),
    ("gates", "benchmarks", "ci"),
    ("mutants",),
    ("report",),
    ("schedule",),
    ("suite", "plugin", "cli", "pytest", "__main__"),
)
RANK = {package: rank for rank, packages in enumerate(ORDER) for package in packages}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
# What the evaluation in a gate's own module may import outside of functions; measuring imports the rest when it runs.
PURE = ("gates", "op", "external_ops", "arch", "result", "settings", "environment")
PURE_MODULES = ("models", "models.architecture")  # which architectures there are: the standard library says
HELPERS = ("under_test",)  # which measurements share


def imported(path, top=False):
    """The parts after ``braidcheck.`` of all that a file imports: inside functions too, or at its ``top`` alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body if top else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {name.removeprefix("braidcheck.") for name in found if name.startswith("braidcheck.")}
    return {name for name in inside if name.split(".")[0] in RANK}


def forbidden(path, names):
    package = path.parts[0].removesuffix(".py")
    for wanted in names:
        other, _, rest = wanted.partition(".")
        allowed = RANK[other] <= RANK[package]
        part = rest.split(".")[0]
        if package == other == "kernels" and part and part != "common":
            allowed = path.parts[1:2] == (part,)
        if not allowed:
            yield wanted


def is_evaluation(path):
    """Whether a file is a gate's own module, which holds its evaluation."""
    own = path.name == "__init__.py" or len(path.parts) == 2
    return path.parts[0] == "gates" and own and not {path.stem, *path.parts} & set(HELPERS)


def impure(names):
    pure = {name for name in names if name in PURE_MODULES or name.rpartition(".")[0] in PURE_MODULES[1:]}
    others = [name for name in names if name not in pure]
    return [name for name in others if name.split(".")[0] not in PURE or name.endswith("measure")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_in_order(path):
    relative = path.relative_to(ROOT)
    package = relative.parts[0].removesuffix(".py")
    assert package in RANK, f"{package} has no place in ORDER: give it one"
    assert not sorted(forbidden(relative, imported(path)))
    if is_evaluation(relative):
        assert not impure(imported(path, top=True))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("kernels/rms_norm/__init__.py", "kernels.qkv_rope"),
        ("kernels/rms_norm/__init__.py", "golden.store"),
        ("gates/accuracy/__init__.py", "mutants.runner"),
        ("golden/hf.py", "gates.accuracy"),
        ("report/rows.py", "cli"),
    ],
)
def test_the_order_can_be_broken(path, name):
    assert list(forbidden(Path(path), [name])) == [name]


def test_an_evaluation_that_measures_can_be_seen():
    assert impure(["gates.gate", "kernels", "gates.accuracy.measure"]) == ["kernels", "gates.accuracy.measure"]
    assert is_evaluation(Path("gates/accuracy/__init__.py"))
    assert not is_evaluation(Path("gates/accuracy/measure.py"))


def imports_none_of(heavy, code):
    """Whether a new process that runs ``code`` has imported none of the ``heavy`` modules."""
    ends = f"import sys\n{code}\nsys.exit(bool({heavy} & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", ends], check=False, stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.usefixtures("fresh_python")
def test_nothing_imports_torch_before_it_is_needed():
    code = "import braidcheck.plugin, braidcheck.gates, braidcheck.kernels\nfrom braidcheck.cli import COMMANDS, load"
    code += "\nfor name in COMMANDS: load(name)"
    assert imports_none_of({"torch", "triton", "transformers", "numpy", "scipy"}, code)


@pytest.mark.usefixtures("fresh_python")
def test_the_help_of_all_imports_no_command():
    """It takes a quarter of a second; with all commands' modules it took twice that."""
    code = "from braidcheck.cli import main\nmain(['--help'])"
    assert imports_none_of({"braidcheck.gates", "braidcheck.report", "braidcheck.cli.gate", "torch"}, code)
