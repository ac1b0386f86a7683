"""The record of the last whole `nox -s gpu_tests`: which tree a GPU ran, on which card, how long, with what outcome.

python tools/gpu_suite_record.py write RUN.json    # after a whole run; the record is committed with the change
python tools/gpu_suite_record.py check             # exit code 1 where no GPU has run this tree
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = Path("docs", "results", "gpu-suite.json")
SUFFIXES = (".py", ".json", ".toml", ".ini", ".safetensors", ".txt")
# Parts of the package that no GPU test and no gate of the gpu lane runs.
NOT_COVERED = ("cli", "ci", "engines", "mutants", "report")

DURATIONS = "durations.json"  # only the order of items follows from it
INTERPRETER = "interpreter_"  # modules of patches that only a process which interprets applies


def covered(root: Path) -> list[Path]:
    """The files that decide what GPU tests and the gpu lane do: the package without its reports, and the GPU tests."""
    package = [path for path in (root / "braidcheck").rglob("*") if path.suffix in SUFFIXES]
    kept = [path for path in package if path.relative_to(root).parts[1] not in NOT_COVERED]
    tests = [path for path in (root / "tests").rglob("*.py") if path.name == "conftest.py" or is_gpu_test(path)]
    return sorted(path for path in (*kept, *tests) if "__pycache__" not in path.parts and not _is_idle(path))


def _is_idle(path: Path) -> bool:
    """Whether a module or file of the package does nothing on a GPU."""
    return path.name == DURATIONS or path.name.startswith(INTERPRETER)


def is_gpu_test(path: Path) -> bool:
    """Whether a file marks a test with ``gpu``."""
    return "mark.gpu" in path.read_text(encoding="utf-8")


def tree_hash(root: Path) -> str:
    """SHA-256 over the names and contents of what is covered."""
    digest = hashlib.sha256()
    for path in covered(root):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def write(root: Path, run: Path) -> None:
    """Write the record of ``run``, the Run of the whole suite. Raises ValueError where it is only a part of it."""
    body = json.loads(run.read_text(encoding="utf-8"))
    if missing := len(body["expected"]) - len(body["verdicts"]):
        raise ValueError(f"{run}: {missing} of {len(body['expected'])} items have no verdict; nothing is recorded")
    environment = body["environment"]
    record = {
        "tree": tree_hash(root),
        "date": environment["started"],
        "gpus": [gpu["name"] for gpu in environment["gpus"]],
        "driver": environment["driver"],
        "cpus": environment["cpus"],
        "libraries": {name: environment["libraries"][name] for name in ("torch", "triton", "transformers")},
        "seconds": environment["seconds"],
        "phases": environment.get("phases", {}),
        "outcome": body["status"],
        "verdicts": dict(Counter(verdict["status"] for verdict in body["verdicts"])),
        "tests": sum(verdict["gate"] == "tests" for verdict in body["verdicts"]),
    }
    (root / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def problem(root: Path) -> str:
    """Why the record does not vouch for this tree; empty where it does."""
    if not (root / RECORD).exists():
        return f"{RECORD} is missing"
    record = json.loads((root / RECORD).read_text(encoding="utf-8"))
    if record["tree"] != tree_hash(root):
        return f"{RECORD} is of {record['date'][:10]}, and what GPU tests cover has changed since"
    return "" if record["outcome"] == "pass" else f"the last GPU run of this tree ended with: {record['outcome']}"


def main(words: list[str]) -> int:
    """Write or check; 1 where the record is stale, 2 for a usage error or a part of the suite."""
    if words == ["check"]:
        if message := problem(ROOT):
            print(f"{message}: run `nox -s gpu_tests --no-venv` on a GPU and commit {RECORD}", file=sys.stderr)
        return bool(message)
    if len(words) == 2 and words[0] == "write":
        try:
            write(ROOT, Path(words[1]))
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
