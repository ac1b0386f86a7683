"""Plants faults in what evaluates, one at a time, and asks the project's own tests to notice each.

A mutant is killed where a test fails that passes on the package as it is, or where the tests do not end within ten
times the CPU time that they may take unmutated. Survivors are printed with their diff, then a table by module.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from braidcheck.environment import fingerprint
from braidcheck.mutants.mutant import PACKAGE, Mutant
from braidcheck.result import json_by_line, write_atomically
from tools.evaluation_mutants import faults, project_tests
from tools.evaluation_mutants.project_tests import ROOT, Control

LIMIT_S = 10 * project_tests.MAX_TESTS_S  # seconds of CPU time that a trial may take
CONTROL_S = 900.0  # seconds of CPU time that one file's tests may take while their calls are recorded
SAMPLE, SEED = 300, 20
WARM = ("torch", "transformers", "triton", "numpy", "scipy.stats", "safetensors.torch", "ruptures", "bokeh.plotting")
WARM += ("jinja2", "rich.console", "typer", "datasets", "yaml", "xdist")
Row = dict[str, Any]


class Worker:
    """A copy of the source tree, and a server that forks a child for each run of its tests."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        _copy(folder)
        environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
        server = Path(__file__).with_name("fork_server.py")
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(server), *WARM], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, names: Sequence[str], ids: Sequence[str], limit: float, record: bool = False) -> Row:
        """The server's answer to one run of the test files ``names``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        task = {"root": str(self.root), "package": PACKAGE.name, "limit": limit, "record": record}
        self.process.stdin.write(json.dumps(task | {"files": list(names), "ids": list(ids)}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def trial(self, mutant: Mutant, controls: dict[str, Control]) -> Row:
        """What became of one mutant."""
        row: Row = {"id": mutant.id, "kind": mutant.kind, "part": mutant.part, "description": mutant.description}
        if mutant.stale:
            return row | {"outcome": "stale", "said": mutant.stale}
        ids = project_tests.tests_for(mutant, controls)
        if not ids:
            return row | {"outcome": "survived", "tests": 0, "diff": faults.diff(mutant)}
        with _mutated(self.root / PACKAGE.name / mutant.file, mutant.text):
            reply = self.ask(sorted({name.split("::")[0] for name in ids}), ids, LIMIT_S)
        outcome = {0: "survived", None: "timeout"}.get(reply["code"], "killed")
        row |= {"outcome": outcome, "tests": len(ids), "seconds": reply["wall"]}
        return row | ({"killer": reply["failed"][:1]} if outcome == "killed" else {"diff": faults.diff(mutant)})

    def close(self) -> None:
        """End the server and what it runs."""
        self.process.terminate()
        self.process.wait()


_TIMES = itertools.count(1)


class _mutated:
    """A context in which a file of the copy holds a mutant."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text

    def __enter__(self) -> None:
        self.original, self.stat = self.path.read_bytes(), self.path.stat()
        self.path.write_text(self.text, encoding="utf-8")
        # Compiled files are known by a source's time and size: no two mutants share a time.
        os.utime(self.path, (stamp := next(_TIMES), stamp))

    def __exit__(self, *_error: object) -> None:
        self.path.write_bytes(self.original)
        os.utime(self.path, ns=(self.stat.st_atime_ns, self.stat.st_mtime_ns))


def _copy(folder: Path) -> None:
    """The source tree as it stands, uncommitted edits included."""
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(git, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def shared_out(workers: Sequence[Worker], tasks: Iterable[Any], work: Callable[[Worker, Any], Any]) -> list[Any]:
    """The answers to ``tasks``, in their order, from whichever worker is free."""
    waiting: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    for numbered in enumerate(tasks):
        waiting.put(numbered)
    answers: dict[int, Any] = {}

    def serve(worker: Worker) -> None:
        while True:
            try:
                number, task = waiting.get_nowait()
            except queue.Empty:
                return
            answers[number] = work(worker, task)

    threads = [threading.Thread(target=serve, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[number] for number in sorted(answers)]


def controls_of(workers: Sequence[Worker], names: Sequence[str], keep: Path | None) -> dict[str, Control]:
    """What the tests of these files do on the package as it is; taken from ``keep`` where the file is the same."""
    known: dict[str, Control] = json.loads(keep.read_text()) if keep and keep.exists() else {}
    digests = {name: project_tests.digest(workers[0].root / name) for name in names}
    stale = [name for name in names if known.get(name, {}).get("sha256") != digests[name]]

    def work(worker: Worker, name: str) -> None:
        reply = worker.ask([name], [], CONTROL_S, record=True)
        print(f"control: {name}, {reply['wall']:.0f} s, {len(reply['failed'])} fail", file=sys.stderr, flush=True)
        kept = {key: reply.get(key, {}) for key in ("seconds", "called", "failed")}
        known[name] = {"sha256": digests[name], **kept}  # type: ignore[typeddict-item]
        if keep:
            write_atomically(keep, json.dumps(known))

    shared_out(workers, stale, work)
    return {name: known[name] for name in names}


def chosen(options: argparse.Namespace) -> list[Mutant]:
    """The named mutants, and the generated ones or a seeded sample of them."""
    mutants = [] if options.generated_only else faults.named()
    mutants = [mutant for mutant in mutants if not options.part or mutant.part in options.part]
    made = faults.generated(options.part or ())
    if options.sample and options.sample < len(made):
        made = random.Random(options.seed).sample(made, options.sample)
    mutants += made if not options.named_only else []
    return [mutant for mutant in mutants if not options.id or mutant.id in options.id]


def argued() -> dict[str, str]:
    """The reason why a mutant is equivalent, by its id."""
    body = tomllib.loads(faults.EQUIVALENT.read_text(encoding="utf-8"))
    return {mutant: reason for reason, mutants in body.items() for mutant in mutants}


def table(rows: Sequence[Row]) -> list[str]:
    """A line a module and one of all: killed of those that are not argued equivalent."""
    lines = []
    for name in [*sorted({row["part"] for row in rows}), ""]:
        own = [row for row in rows if name in ("", row["part"]) and not row.get("equivalent")]
        killed = sum(row["outcome"] == "killed" for row in own)
        lines.append(f"{name or 'all':28}{killed:6} of {len(own):5}" + (f"{killed / len(own):8.1%}" if own else ""))
    return lines


def main(words: Sequence[str] | None = None) -> int:
    """Run the mutants; 1 where one survives that is not argued equivalent, or where an argument is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=SAMPLE, help=f"generated mutants to draw, 0 for all ({SAMPLE})")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the draw ({SEED})")
    parser.add_argument("--part", action="append", help="a module, such as gates.static; may be repeated")
    parser.add_argument("--id", action="append", help="one mutant; may be repeated")
    parser.add_argument("--named-only", action="store_true")
    parser.add_argument("--generated-only", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--control", type=Path, help="keep here what the tests do unmutated, for the next run")
    parser.add_argument("--save", type=Path, help="write the result here")
    options = parser.parse_args(words)
    began, where, mutants, reasons = time.monotonic(), fingerprint(), chosen(options), argued()
    with tempfile.TemporaryDirectory() as folder:
        workers = [Worker(Path(folder, str(number))) for number in range(options.workers)]
        try:
            names = sorted({name for mutant in mutants for name in project_tests.files_for(mutant.file)})
            controls = controls_of(workers, names, options.control)
            rows = shared_out(workers, mutants, lambda worker, mutant: _told(worker.trial(mutant, controls), reasons))
        finally:
            for worker in workers:
                worker.close()
    if options.save:
        body = {"format": 1, "environment": where, "seed": options.seed, "sample": options.sample}
        body |= {"generated": len(faults.generated(options.part or ())), "seconds": round(time.monotonic() - began, 1)}
        write_atomically(options.save, json_by_line(body, "mutants", rows, "evaluation mutants 1"))
    print("\n".join(table(rows)))
    return int(any((row["outcome"] != "killed") != ("equivalent" in row) for row in rows))


def _told(row: Row, reasons: dict[str, str]) -> Row:
    if row["outcome"] != "killed":
        print(f"{row['outcome']}: {row['id']}: {row['description']}", *row.get("diff", ()), sep="\n    ", flush=True)
    return row | ({"equivalent": reasons[row["id"]]} if row["id"] in reasons else {})


if __name__ == "__main__":
    raise SystemExit(main())
