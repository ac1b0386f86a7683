"""Runs a project's own test command on copies of the project, several at a time."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from braidcheck import scratch
from braidcheck.external_ops import GIVEN, VARIABLE
from braidcheck.mutants.project import copies

TAIL_BYTES = 20_000  # of a command's output, searched for the reason of its failure
MAX_SAID = 160  # characters kept of it


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or None if it was stopped at the time limit, and its seconds."""

    code: int | None
    seconds: float
    said: str


class Trials:
    """Copies of a project, each free or in use by one run of the command; a context manager that removes them."""

    def __init__(
        self, root: Path, sources: Sequence[Path], command: str, jobs: int, settings: Sequence[Mapping[str, str]]
    ) -> None:
        """The command runs in the copy of the working directory, or of ``root`` if that lies elsewhere; run n has the
        environment variables ``settings[n % len(settings)]``."""
        self.root, self.sources, self.command, self.jobs, self.settings = root, sources, command, jobs, settings
        here = Path.cwd().resolve()
        self._where = here.relative_to(root) if here.is_relative_to(root) else Path()
        self._free: queue.SimpleQueue[tuple[Path, Mapping[str, str]]] = queue.SimpleQueue()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._stopped = threading.Lock(), False

    def __enter__(self) -> Self:
        self._folder = scratch.Folder("mutants")
        for number in range(self.jobs):
            copy = self._folder.path.resolve() / f"copy-{number}"
            copies.copy(self.root, copy)
            self._free.put((copy, self._environment(copy, number)))
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.close()

    def side_by_side(self, work: Callable[[Any], Any], tasks: Iterable[Any]) -> list[Any]:
        """``work(task)`` of each task, as many concurrently as there are copies; an interrupt ends the commands."""
        pool = ThreadPoolExecutor(self.jobs)
        try:
            futures = [pool.submit(work, task) for task in tasks]
            wait(futures, return_when=FIRST_EXCEPTION)
            return [future.result() for future in futures]
        finally:
            if sys.exc_info()[0]:
                self._stop()
            pool.shutdown(wait=True, cancel_futures=True)

    def run(self, limit: float | None, file: str = "", text: str = "") -> Ended:
        """Run the command in a copy in which ``file`` contains ``text``, for at most ``limit`` seconds."""
        copy, environment = self._free.get()
        try:
            with copies.changed(copy / file, text) if file else contextlib.nullcontext():
                return self._run(copy / self._where, environment, limit)
        finally:
            self._free.put((copy, environment))

    def _run(self, where: Path, environment: Mapping[str, str], limit: float | None) -> Ended:
        began = time.monotonic()
        with tempfile.TemporaryFile() as output:
            process = self._start(where, environment, output)
            try:
                code: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end_group(process)
                with self._lock:
                    self._running.discard(process)
            seconds = time.monotonic() - began
            output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL_BYTES))
            return Ended(code, round(seconds, 2), _reason(code, output.read().decode(errors="replace")))

    def _start(self, where: Path, environment: Mapping[str, str], output: Any) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                self.command, shell=True, cwd=where, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
            return process

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                _end_group(process)

    def _environment(self, copy: Path, number: int) -> dict[str, str]:
        folders = copies.import_folders(copy, [copy / source.relative_to(self.root) for source in self.sources])
        paths = [*folders, *filter(None, [os.environ.get("PYTHONPATH")])]
        # Last: if this program was called by its path, tools beside it are found too.
        programs = [*filter(None, [os.environ.get("PATH")]), str(Path(sys.executable).parent)]
        # Ops announced here lie in the project itself: the command finds those of its copy.
        kept = {name: value for name, value in os.environ.items() if name not in (VARIABLE, GIVEN)}
        return {
            **kept,
            "PYTHONPATH": os.pathsep.join(paths),
            "PATH": os.pathsep.join(programs),
            "TRITON_CACHE_DIR": str(self._folder.path / "triton"),  # else mutants would fill the user's cache
            **self.settings[number % len(self.settings)],
        }


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the command and all its descendants."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _reason(code: int | None, output: str) -> str:
    """The command's last line of output; for pytest the first failed test."""
    if code == 0:
        return ""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    failed = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    message = (failed[:1] or lines[-1:] or [""])[0]
    if code is not None and code < 0:
        message = f"died of {signal.Signals(-code).name}: {message}"
    return message[:MAX_SAID]
