"""Builds what a release uploads, twice, and tries the wheels where the source is not: python -m tools.package [OUT]

Both builds must be the same bytes, the core wheel small and without nano, and the installed command must work from an
empty folder. The wheels are installed into an environment that takes the dependencies from this one. Needs hatchling.
"""

from __future__ import annotations

import email
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
NANO = ROOT / "tools" / "nano_wheel"
MAX_CORE_BYTES, MAX_DEPENDENCIES = 1_000_000, 10  # of the wheel; without an extra
NEEDED = ("py.typed", "report/page/templates/page.html", "schedule/durations.json", "cli/skeleton.txt")
COMMANDS = {  # each with its exit code, as first with the core wheel alone
    ("--help",): 0,
    ("doctor",): 0,
    ("list",): 0,
    ("check", "rms_norm", "braidcheck.kernels.rms_norm:rms_norm", "--case", "T1-H1024", "--seed", "1"): 0,
    ("golden", "verify"): 3,  # nano is a wheel of its own
}


def main(out: Path) -> int:
    """Build to ``out`` and try it; 1 with a line for everything that is not as it should be."""
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        again = Path(name, "again")
        problems = [*_differences(build(out), build(again)), *faults(core(out))]
        problems += tried(out, Path(name, "environment"), Path(name, "empty folder"))
    for line in problems:
        print(f"FAILED: {line}", file=sys.stderr)
    return int(bool(problems))


def build(out: Path) -> dict[str, str]:
    """The SHA-256 of sdist and wheels, by name, built to ``out`` from a copy of what git tracks in this tree."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name, "tree")
        for path in _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
            if path and (ROOT / path).is_file():
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / path, tree / path)  # without its time and mode
        env = os.environ | {"SOURCE_DATE_EPOCH": _git("log", "-1", "--format=%ct").strip()}
        for folder, kinds in ((tree, ("sdist", "wheel")), (tree / NANO.relative_to(ROOT), ("wheel",))):
            for kind in kinds:
                command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out.resolve())]
                subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def _differences(first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(first.keys() | second.keys()):
        print(f"{first.get(name)}  {name}")
        if first.get(name) != second.get(name):
            yield f"{name} is not reproducible: {first.get(name)}, then {second.get(name)}"


def core(out: Path) -> Path:
    """The core wheel in ``out``."""
    (wheel,) = out.glob("braidcheck-*.whl")
    return wheel


def faults(wheel: Path) -> Iterator[str]:
    """What is wrong with the core wheel: its size, what it lacks or should not hold, its dependencies."""
    size = wheel.stat().st_size
    if size > MAX_CORE_BYTES:
        yield f"{wheel.name} has {size:,} bytes, over {MAX_CORE_BYTES:,}: see what is large with unzip -lv"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        needs = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
    own = [name for name in names if not re.match(r"braidcheck(-[\d.]+\.dist-info)?/", name)]
    yield from (f"{wheel.name} holds {name}, which is not the package's" for name in own)
    yield from (f"{wheel.name} holds {name}, which is nano's" for name in names if name.endswith(".safetensors"))
    yield from (f"{wheel.name} lacks {name}" for name in NEEDED if f"braidcheck/{name}" not in names)
    mandatory = [line for line in needs if "extra ==" not in line]
    print(f"{wheel.name}: {size:,} bytes, {len(names)} files, {len(mandatory)} mandatory dependencies")
    if len(mandatory) > MAX_DEPENDENCIES:
        yield f"{len(mandatory)} mandatory dependencies, over {MAX_DEPENDENCIES}: make one an extra"


def tried(out: Path, environment: Path, empty: Path) -> Iterator[str]:
    """What does not work with the wheels in ``out``, installed into ``environment`` and called from ``empty``."""
    empty.mkdir()
    venv.create(environment, with_pip=True, symlinks=os.name == "posix")
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    _shared_dependencies(python)
    _install(python, core(out))
    where = _said(python, empty, "-c", "import braidcheck; print(braidcheck.__file__)")[1].strip()
    if not Path(where).is_relative_to(environment):
        yield f"what is tried is {where}, not the wheel"
    yield from _wrong(python, empty, COMMANDS)
    (nano,) = out.glob("braidcheck_nano-*.whl")
    _install(python, nano)
    yield from _wrong(python, empty, {("golden", "verify"): 0})


def _shared_dependencies(python: Path) -> None:
    """Let an environment see the packages of this one. A plain path in a .pth file runs no .pth file of that folder,
    so this project's editable installation is not among them."""
    here = _said(python, python.parent, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")[1].strip()
    seen = [path for path in sys.path if path.endswith("site-packages")]
    Path(here, "shared.pth").write_text("\n".join(seen) + "\n", encoding="utf-8")


def _install(python: Path, wheel: Path) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel.resolve())]
    subprocess.run(command, check=True)


def _wrong(python: Path, empty: Path, commands: Mapping[tuple[str, ...], int]) -> Iterator[str]:
    for words, expected in commands.items():
        code, output = _said(python, empty, "-m", "braidcheck", *words)
        print(f"braidcheck {' '.join(words)}: exit code {code}")
        if code != expected:
            yield f"braidcheck {' '.join(words)}: exit code {code}, not {expected}: {output[-600:]}"


def _said(python: Path, folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of ``python``, which finds nothing of the source tree."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([str(python), *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
