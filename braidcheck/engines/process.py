"""Runs an engine in its own process, with its own Python: it may hang, crash, print endlessly, or exhaust memory."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braidcheck import environment
from braidcheck.engines.worker import Header
from braidcheck.errors import UserError
from braidcheck.isolation.process import how_ended
from braidcheck.processes import descendants, wait_for_own_end

MAX_HEADER = 1 << 26  # bytes of a reply's line: answers of thousands of prompts
MAX_TAIL = 4096  # bytes kept of what the engine prints
POLL_S = 0.25
WORKER = Path(__file__).with_name("worker.py")


class EngineError(Exception):
    """A request that the engine did not answer: it raised, or its process ended; the message says how."""


class EngineGone(EngineError):
    """The engine's process has ended or was ended; the next request needs a new one."""


@dataclass(frozen=True)
class Launch:
    """How to start an engine: see `specs.parse`. A request may take ``timeout_s``, all processes ``max_bytes``."""

    factory: str
    arguments: tuple[str, ...]
    python: str = sys.executable
    shipped: bool = False
    timeout_s: float = 120.0
    max_bytes: int = 0  # 0: no limit


class EngineProcess:
    """A started engine. Raises EngineError if it cannot be made."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._tail = b""
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        self._printed, printed = os.pipe()
        start = {"factory": launch.factory, "shipped": launch.shipped, "arguments": launch.arguments}
        words = [launch.python, "-c", WORKER.read_text(encoding="utf-8"), str(requests), str(replies)]
        try:
            self._process = subprocess.Popen(
                [*words, json.dumps(start)], pass_fds=(requests, replies), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=printed, start_new_session=True, env=_environment(launch),
            )  # fmt: skip
        except OSError as error:
            raise UserError(f"--engine-python {launch.python} cannot be run: {error.strerror}") from None
        finally:
            for number in (requests, replies, printed):
                os.close(number)
        os.set_blocking(self._printed, False)
        os.set_blocking(self._requests, False)
        with suppress(OSError, AttributeError):  # fewer, larger pieces
            fcntl.fcntl(self._replies, fcntl.F_SETPIPE_SZ, 1 << 20)
        try:
            self._read(b"")
        except EngineError:
            self.close()
            raise

    def call(self, request: Mapping[str, Any]) -> tuple[Header, bytes]:
        """The reply's header and bytes. Raises EngineError if the engine raised, EngineGone where it is gone."""
        return self._read(json.dumps(request).encode() + b"\n")

    def close(self) -> None:
        """End the process and its descendants. May be called again."""
        for number in (self._requests, self._replies, self._printed):
            with suppress(OSError):
                os.close(number)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _read(self, request: bytes) -> tuple[Header, bytes]:
        """Send ``request`` and read its reply."""
        end = time.monotonic() + self._launch.timeout_s
        received = bytearray()
        while (line := received.find(b"\n")) < 0:
            request = self._step(request, received, end)
            if len(received) > MAX_HEADER and b"\n" not in received:
                raise self._gone("sent a reply that does not end")
        try:
            header = json.loads(bytes(received[:line]))
            size = int(header["bytes"])
        except (ValueError, RecursionError, KeyError, TypeError):
            raise self._gone("sent an invalid reply") from None
        while len(received) < line + 1 + size:
            self._step(b"", received, end)
        if header.get("fatal"):
            raise self._gone(f"raised {header['raised']}")
        if "raised" in header:
            raise EngineError(f"raised {header['raised']}")
        return header, bytes(received[line + 1 :])

    def _step(self, request: bytes, received: bytearray, end: float) -> bytes:
        """Transfer what can be transferred; returns the rest of ``request``. Raises EngineGone."""
        writers = [self._requests] if request else []
        readable, writable, _ = select.select([self._replies, self._printed], writers, [], POLL_S)
        if self._printed in readable:
            self._tail = (self._tail + os.read(self._printed, 1 << 16))[-MAX_TAIL:]
        if writable:
            with suppress(BrokenPipeError, BlockingIOError):  # after its end, its replies end too
                request = request[os.write(self._requests, request) :]
        if self._replies in readable:
            if not (part := os.read(self._replies, 1 << 20)):
                code = self._process.wait()
                wait_for_own_end(code)
                raise self._gone(f"ended ({how_ended(code)})", said=True)
            received += part
            return request
        if time.monotonic() > end:
            raise self._gone(f"gave no answer in {self._launch.timeout_s:g} s (--engine-timeout allows more)")
        if (limit := self._launch.max_bytes) and (used := _resident_bytes(self._process.pid)) > limit:
            raise self._gone(f"took {used / 2**30:.1f} GiB of memory of {limit / 2**30:.1f} (--engine-memory)")
        return request

    def _gone(self, how: str, said: bool = False) -> EngineGone:
        lines = self._tail.decode(errors="replace").strip().splitlines() if said else []
        self.close()
        return EngineGone(how + (f": {lines[-1].strip()[:300]}" if lines else ""))


def _environment(launch: Launch) -> dict[str, str]:
    """braidcheck's own Python gets braidcheck's path; another Python does not."""
    return environment.with_package() if launch.python == sys.executable else dict(os.environ)


def _resident_bytes(root: int) -> int:
    """Resident memory of a process and its descendants; 0 where the system does not say."""
    total = 0
    for process in (root, *descendants(root)):
        with suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total
