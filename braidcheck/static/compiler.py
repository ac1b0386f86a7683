"""Compiles all configurations in child processes and prints the results as JSON lines.

Run as ``python -m braidcheck.static.compiler CHILDREN [OP...]``, without the interpreter. Work runs in children,
because an internal compiler error ends the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import triton

from braidcheck import arch, checksum, scratch
from braidcheck.arch import GPUS, Arch
from braidcheck.golden.resolve import cache_directory
from braidcheck.result import write_atomically
from braidcheck.static import configurations, resources
from braidcheck.static.configurations import Configuration
from braidcheck.static.evidence import Evidence, Row, Seen

SCHEMA = "compiled kernel 1"
AT_ONCE = 16  # pieces of work a child
# The cache is invalid when the extracted data changes.
READER = b"".join(Path(file).read_bytes() for file in (resources.__file__, arch.__file__))


class Work:
    """One configuration for one target; ``name`` is a cache key of everything that its result depends on."""

    def __init__(self, configuration: Configuration, target: Arch) -> None:
        self.configuration, self.target = configuration, target
        digest = configuration.launch.digest(resources.triton_target(target))
        self.name = hashlib.sha256(READER + digest.encode()).hexdigest()

    def do(self, file: Path) -> None:
        """Compile, and write the result or the compiler's error to ``file``."""
        try:
            seen = resources.read(self.configuration.launch, self.target)
        except Exception as error:  # any exception of the compiler is a result about the kernel
            last = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
            seen = {"error": last}
        write_atomically(file, json.dumps(seen))

    def row(self, seen: Seen) -> Row:
        """The evidence on this configuration and target."""
        one = self.configuration
        return {
            "op": one.op,
            "configuration": one.name,
            "kernel": one.launch.kernel.__name__,
            "target": self.target.name,
            "shared_limit": self.target.shared_memory_bytes,
            "bytes": one.cost.bytes if one.cost else None,
            "flops": one.cost.flops if one.cost else None,
            **seen,
        }


def measure(ops: Sequence[str], children: int, say: Callable[[int, int], None]) -> list[Row]:
    """The resources of every configuration of ``ops`` (default: all) on every target; reports ``say(done, total)``."""
    work = [Work(one, target) for target in GPUS.values() for one in configurations.find(ops, target.capability)]
    work.sort(key=lambda one: (one.configuration.op, one.configuration.launch.kernel.__name__, one.configuration.name))
    kept = cache_directory() / "static"
    seen = {one.name: row for one in work if (row := _kept(kept / one.name)) is not None}
    missing = list({one.name: one for one in work if one.name not in seen}.values())
    with scratch.Folder("static") as folder:
        os.environ["TRITON_CACHE_DIR"] = str(folder)  # read when a child compiles: what it leaves is not needed again
        for done, (name, result) in enumerate(_in_children(missing, children, folder), 1):
            seen[name] = result
            _keep(kept / name, result)
            say(len(work) - len(missing) + done, len(work))
    return [one.row(seen[one.name]) for one in work]


def _in_children(work: Sequence[Work], count: int, folder: Path) -> Iterator[tuple[str, Seen]]:
    """Name and result of each piece; a child takes many, since the first compilation of a process is slowest."""
    waiting = [list(work[start : start + AT_ONCE]) for start in range(0, len(work), AT_ONCE)]
    running: dict[int, list[Work]] = {}
    while waiting or running:
        while waiting and len(running) < count:
            pieces = waiting.pop(0)
            child = os.fork()
            if not child:
                _work_through(pieces, folder)
            running[child] = pieces
        child, status = os.wait()
        pieces = running.pop(child)
        while pieces and (file := folder / pieces[0].name).exists():
            yield pieces.pop(0).name, json.loads(file.read_text())
        if pieces:  # it died at the first remaining one
            yield pieces.pop(0).name, {"error": _death(status)}
            waiting += [pieces] if pieces else []


def _work_through(pieces: Sequence[Work], folder: Path) -> None:
    """Run a child; the compiler's output must not look like an answer."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    try:
        for one in pieces:
            one.do(folder / one.name)
    finally:
        os._exit(0)


def _death(status: int) -> str:
    how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
    return f"the compiler's process died of {how}"


def _kept(file: Path) -> Seen | None:
    try:
        return cast(Seen, checksum.opened(file.read_text(encoding="utf-8"), SCHEMA))
    except (OSError, ValueError):
        return None


def _keep(file: Path, result: Seen) -> None:
    if "error" in result:  # the machine may be the cause: a full disk, no memory
        return
    try:
        write_atomically(file, checksum.seal(json.dumps(result), SCHEMA))
    except OSError:  # without a cache it is only slower
        return


def main() -> None:
    """Print JSON lines: progress, then the evidence."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))  # a trial's limit applies to kernels that run
    children, *ops = sys.argv[1:]
    rows = measure(ops, int(children), lambda *counts: print(json.dumps(counts), flush=True))
    evidence: Evidence = {"triton": triton.__version__.split("+")[0], "rows": rows}
    print(json.dumps(evidence), flush=True)


if __name__ == "__main__":
    main()
