"""docs/unexecuted.md next to the source: no op, no switch between the lanes and no name on the page may be missing."""

import ast
import re
from pathlib import Path

import pytest

import braidcheck
from braidcheck import kernels
from braidcheck.gates import GATES
from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common.configs import LARGE, MIN_SIZES, TUNED_CONFIGS

ROOT = Path(braidcheck.__file__).parent
PAGE = ROOT.parent / "docs" / "unexecuted.md"
SWITCHES = (
    "INTERPRETED", "USE_PDL", "is_cuda", '.type == "cuda"', "torch.cuda.", "cache_modifier", "debug_barrier",
    "tl.atomic_", "tl.extra.cuda", "num_warps", "num_stages",
)  # fmt: skip
OPS = kernels.find()


def units(page):
    """The table's rows and the bullets of the page, a line each."""
    text = re.sub(r"\n  +", " ", page)
    return [line for line in text.splitlines() if line.startswith(("| `", "- "))]


def rows(page):
    """The ops that have a row."""
    return [re.match(r"\| `(\w+)` ", line)[1] for line in units(page) if line.startswith("|")]


def unnamed(page, package):
    """The switches that a file under ``package`` holds and no row or bullet names beside the file."""
    return [
        f"{path.relative_to(package)}: {switch}"
        for room in ("kernels", "models")
        for path in sorted((package / room).rglob("*.py"))
        for switch in SWITCHES
        if switch in path.read_text(encoding="utf-8")
        and not any(
            f"`{path.relative_to(package / room).as_posix()}" in unit and switch in unit for unit in units(page)
        )
    ]


def missing(page):
    """The files, functions and gates that the page names and the source does not have."""
    found = []
    for name, function in re.findall(r"`([\w/]+\.py)(?:: (\w+))?`", page):
        paths = [
            path for path in (ROOT / "kernels" / name, ROOT / "models" / name, ROOT.parent / name) if path.exists()
        ]
        if not paths or (function and function not in functions(paths[0])):
            found.append(f"{name}: {function}")
    gates = re.findall(r"(?<!\*)\*(\w+)\*(?!\*)", page)
    return found + [gate for gate in gates if gate not in GATES]


def functions(path):
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text(encoding="utf-8")


def test_every_op_has_its_row(page):
    assert rows(page) == sorted(OPS)


def test_every_switch_is_named_beside_its_file(page):
    assert unnamed(page, ROOT) == []


def test_what_the_page_names_is_there(page):
    assert missing(page) == []


def test_sizes_are_as_the_page_has_them():
    """Where one of these fails, code that the page calls unexecuted is executed now, or the other way round."""
    steps = [case for case in OPS["decode_attention"].cases if not case.large]
    assert max(case["S"] for case in steps) < MIN_SIZES["decode_attention"][LARGE]
    assert few.MAX_K_SMALL_M <= few.MAX_BLOCK_K
    assert set(TUNED_CONFIGS) == {"sm_90", "interpreter"}


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_new_file_with_a_switch_must_be_named(page, tmp_path, switch):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "fresh.py").write_text(f"x = {switch}")
    assert unnamed(page, tmp_path) == [f"kernels/fresh.py: {switch}"]
    assert unnamed(f"{page}\n- `fresh.py: f` has {switch}.", tmp_path) == []


@pytest.mark.parametrize("name", ["gone.py", "common/pdl.py: gone", "tests/gone.py"])
def test_a_name_that_is_gone_is_seen(page, name):
    assert missing(f"{page}\n`{name}`") == [name if ": " in name else f"{name}: "]


def test_a_gate_that_is_gone_is_seen(page):
    assert missing(f"{page}\n*gone*") == ["gone"]
