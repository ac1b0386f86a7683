"""Damages the files that braidcheck writes or reads: each is refused in one line, or read as it was.

    python -m tools.fuzz_files --count 1000 [--seed N]

What others write, checkpoints, CSV files and waivers, carries no checksum: there a change must only not end in a
traceback. Exit code 1 where one does, or where a file of ours is read as something else.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braidcheck import checksum
from braidcheck.ci import history
from braidcheck.ci.protection import waivers
from braidcheck.ci.trend import table
from braidcheck.cli import report
from braidcheck.cli.mutants import dump, load, read_matrix
from braidcheck.cli.sensitivity import SCHEMA
from braidcheck.errors import UserError
from braidcheck.golden import store
from braidcheck.models import of_checkpoint
from braidcheck.models.checkpoint import read_tensors
from braidcheck.result import Run, Status, Verdict

ROOT = Path(__file__).parents[1]
RESULTS, GOLDEN = ROOT / "docs" / "results", ROOT / "braidcheck" / "golden"
MUTANTS = 20  # rows of a matrix, so that a damaged one is read in a millisecond
CSV = "time,series,value\n2026-11-20,decode us,12.5\n2026-11-21T10:00:00+00:00,decode us,12.6\n"
INDEX = '{"weight_map": {"model.embed_tokens.weight": "model.safetensors"}}'
WAIVERS = '[[waiver]]\nsubject = "accuracy rms_norm[a]"\nreason = "a new bound"\nexpires = 2030-01-31\n'
REFUSED, SAME, OTHER, TRACEBACK = "refused", "read as it was", "read as something else", "traceback"


@dataclass(frozen=True)
class Kind:
    """A file that is damaged and how it is read; ``beside`` is a folder whose files are needed, too.

    ``ours`` carry a checksum.
    """

    name: str
    file: str
    data: bytes
    read: Callable[[Path], Any]
    beside: Path | None = None
    ours: bool = True


def kinds() -> Iterator[Kind]:
    """All of them."""
    golden, nano = GOLDEN / "nano_golden", GOLDEN / "nano"
    yield Kind("run", "run.json", _run().encode(), lambda path: history._load(path).run)
    yield Kind("kill matrix", "kills.json", _matrix().encode(), read_matrix)
    yield Kind("sensitivity", "sizes.json", _sensitivity().encode(), report._sizes)
    for name in (store.MANIFEST, store.TENSORS):
        yield Kind(f"golden {name}", name, (golden / name).read_bytes(), _golden, golden)
    yield Kind("config.json", "config.json", (nano / "config.json").read_bytes(), _config, ours=False)
    yield Kind("index", "model.safetensors.index.json", INDEX.encode(), _names, nano, ours=False)
    yield Kind("safetensors", "model.safetensors", (nano / "model.safetensors").read_bytes(), _names, ours=False)
    yield Kind("waivers", waivers.FILE, WAIVERS.encode(), lambda path: waivers.read(path.parent), ours=False)
    yield Kind("CSV", "nights.csv", CSV.encode(), table.read, ours=False)


def _run() -> str:
    verdict = Verdict(
        "accuracy", "an op", Status.PASS, "fine", value=0.25, limit=1.0, metrics={"a": [1e-5, True, None]}
    )
    about = {"started": "2026-11-20T10:00:00+00:00", "commit": "c0ffee", "gpus": [{"name": "H100"}], "processor": "x"}
    return Run(about, (verdict.id,), (verdict,)).to_json()


def _matrix() -> str:
    matrix = load((RESULTS / "kill-matrix-named-cpu.json").read_text(encoding="utf-8"))
    return dump({**matrix, "mutants": matrix["mutants"][:MUTANTS]})


def _sensitivity() -> str:
    text = (RESULTS / "sensitivity-h200.json").read_text(encoding="utf-8")
    return text if checksum.is_sealed(text) else checksum.seal(text, SCHEMA)


def _golden(path: Path) -> Any:
    return store.load(path.parent).manifest


def _config(path: Path) -> Any:
    return of_checkpoint(path.parent).config_of(path.parent)


def _names(path: Path) -> Any:
    return sorted(read_tensors(path.parent, "cpu"))


def damaged(data: bytes, dice: random.Random) -> bytes:
    """A few bits turned, an end cut off, or a part taken out, repeated, emptied or replaced."""
    at, length = dice.randrange(len(data)), dice.randint(1, 16)
    what = dice.choice(("flip", "flip", "flip", "bits", "cut", "out", "twice", "zero", "noise"))
    if what in ("flip", "bits"):
        changed = bytearray(data)
        for _ in range(1 if what == "flip" else length):
            changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        return bytes(changed)
    if what == "cut":
        return data[:at]
    others = {"out": b"", "twice": 2 * data[at : at + length], "zero": bytes(length), "noise": dice.randbytes(length)}
    return data[:at] + others[what] + data[at + length :]


def outcomes(kind: Kind, count: int, dice: random.Random) -> Iterator[tuple[str, str]]:
    """What became of each damaged file, and what was said."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, kind.file)
        if kind.beside:
            shutil.copytree(kind.beside, place, dirs_exist_ok=True)
        path.write_bytes(kind.data)
        whole = kind.read(path)
        for _ in range(count):
            path.write_bytes(damaged(kind.data, dice))
            try:
                value = kind.read(path)
            except UserError as error:
                yield (TRACEBACK if "\n" in str(error).strip() else REFUSED), str(error)
            except Exception as error:
                yield TRACEBACK, f"{type(error).__name__}: {error}"
            else:
                yield (SAME if value == whole else OTHER), ""


def is_fault(kind: Kind, outcome: str) -> bool:
    """Whether that must not be."""
    return outcome == TRACEBACK or (kind.ours and outcome == OTHER)


def main(words: list[str]) -> int:
    """Print a table, and each fault."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz_files")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options, faults = parser.parse_args(words), 0
    for kind in kinds():
        results = list(outcomes(kind, options.count, random.Random(options.seed)))
        counts = Counter(outcome for outcome, _ in results)
        print(f"{kind.name}: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()), flush=True)
        wrong = {(outcome, message) for outcome, message in results if is_fault(kind, outcome)}
        print("".join(f"  {outcome} {message[:200]}\n" for outcome, message in sorted(wrong)), end="")
        faults += len(wrong)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
