"""The parent's side of a worker process: requests with a time limit, new forks, and a kill when it hangs."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from braidcheck import environment

LIMITS = {"start": 180.0, "prepare": 180.0, "fork": 60.0, "place": 180.0, "turn": 60.0, "end": 60.0}  # seconds
Command = Callable[[Path], Sequence[str]]
Answer = Mapping[str, Any]


class WorkerError(Exception):
    """A worker that failed: on which side, and its message."""

    def __init__(self, side: str, said: str) -> None:
        super().__init__(said)
        self.side, self.said = side, said


def gpu_worker(tree: Path) -> list[str]:
    """The command that times the kernels of ``tree`` on the GPU."""
    return [sys.executable, "-m", "braidcheck.ci.paired.worker"]


class Process:
    """One tree's worker. Starts at the first request and again after it was lost; ``forked`` says whether a child
    answers."""

    def __init__(self, side: str, tree: Path, command: Command = gpu_worker) -> None:
        """``tree`` is the folder to import braidcheck from; ``side`` is base or change."""
        self.side, self.tree, self.command = side, tree, command
        self.child: subprocess.Popen[str] | None = None
        self.forked = False
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def send(self, do: str, series: Mapping[str, Any] | None = None) -> None:
        """Send a command without waiting for its answer."""
        stdin = _stdin(self.child or self._start())
        try:
            stdin.write(json.dumps({**(series or {}), "do": do}) + "\n")
            stdin.flush()
        except OSError:
            self._lost(f"the worker died before {do}")

    def answer(self, do: str) -> Answer:
        """The answer to the last command, ``do``. Raises WorkerError for an error, or a worker that died or hangs."""
        try:
            line = self.answers.get(timeout=LIMITS[do])
        except queue.Empty:
            self._lost(f"{do} took longer than {LIMITS[do]:.0f} s")
        if not line:
            self._lost(f"the worker died during {do}")
        answer = json.loads(line)
        self.forked = "ended" not in answer and (self.forked or do == "fork")
        if "ended" in answer and do != "end":
            raise WorkerError(self.side, f"the process died during {do}: {answer['ended']}")
        if "error" in answer:
            raise WorkerError(self.side, answer["error"])
        return answer

    def ask(self, do: str, series: Mapping[str, Any] | None = None) -> Answer:
        """Command and answer. Raises WorkerError."""
        self.send(do, series)
        return self.answer(do)

    def close(self) -> None:
        """End the worker and its child, even if they hang."""
        if self.child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        _stdin(self.child).close()
        self.child, self.forked = None, False

    def _start(self) -> subprocess.Popen[str]:
        # Torch must not initialise CUDA in the parent, or no child could; a second thread would not survive the fork.
        alone = {"PYTHONSAFEPATH": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        self.child = subprocess.Popen(
            self.command(self.tree), env=environment.for_worker(self.tree) | alone, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.answers = queue.SimpleQueue()
        threading.Thread(target=_read, args=(self.child.stdout, self.answers), daemon=True).start()
        self.answer("start")
        return self.child

    def _lost(self, said: str) -> NoReturn:
        self.close()
        raise WorkerError(self.side, said)


def _stdin(child: subprocess.Popen[str]) -> IO[str]:
    assert child.stdin  # a pipe
    return child.stdin


def _read(pipe: Any, answers: queue.SimpleQueue[str]) -> None:
    with pipe:
        for line in pipe:
            answers.put(line)
    answers.put("")
