"""A child process that may die, hang or flood: it gets one message at a time, each with a time limit."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from braidcheck import environment
from braidcheck.isolation import channel
from braidcheck.isolation.channel import Message
from braidcheck.processes import wait_for_own_end

MAX_SHOWN_BYTES = 1 << 16  # shown of a process's output
GRACE_S = 2.0  # within which a process that has closed its channel should end

READ_BYTES = 1 << 20
OF_CI = ("GITHUB_", "ACTIONS_", "RUNNER_", "CI_JOB_")  # a CI's command files and tokens


class EndedError(BaseException):
    """The process ended, or was ended, before it answered; the message says how, to follow "the function". Not an
    Exception: checks that treat exceptions as the function's answers must not catch this.
    """


class TimeLimitError(EndedError):
    """The process was ended because it did not answer in time."""


class ChildProcess:
    """Runs the Python ``code`` with the descriptors of a channel and of ``fds`` as arguments. Ends with ``close``."""

    def __init__(self, code: str, fds: Sequence[int] = (), settings: Mapping[str, str] | None = None) -> None:
        self._channel, theirs = socket.socketpair()
        self._output, output = os.pipe()
        self._text, self._shown, self._number = b"", 0, 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, (theirs.fileno(), *fds))],
            pass_fds=(theirs.fileno(), *fds), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, env=_strangers(environment.with_package()) | dict(settings or {}),
        )  # fmt: skip
        theirs.close()
        os.close(output)

    def ask(self, message: Message, fds: Sequence[int], timeout: float) -> Message:
        """The answer to ``message``. Ends the process and raises EndedError if none comes within ``timeout``
        seconds."""
        self._number += 1
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it has already ended; reading tells how
                self._channel.settimeout(timeout)
                channel.send(self._channel, {**message, "number": self._number}, fds)
            answer = self._answer(time.monotonic() + timeout)
        except TimeoutError:
            self.close()
            raise TimeLimitError(f"is still running after {timeout:.3g} s") from None
        except ValueError as error:
            self.close()
            raise EndedError(f"sent an invalid answer: {error}") from None
        if answer.pop("number", None) != self._number:
            self.close()
            raise EndedError("sent an answer out of turn")
        return answer

    def close(self) -> None:
        """End the process and all processes in its session."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._channel.close()
        if self._output >= 0:
            os.close(self._output)
            self._output = -1

    def _answer(self, end: float) -> Message:
        while True:
            message, self._text = channel.complete(self._text)
            if message is not None:
                return message
            files: list[Any] = [self._channel, *([self._output] if self._output >= 0 else [])]
            left = end - time.monotonic()
            ready, _, _ = select.select(files, [], [], max(0.0, left))
            if not ready or left <= 0:  # an endless stream is not an answer in time
                raise TimeoutError
            if self._output in ready:
                self._show()
            if self._channel in ready:
                self._read()

    def _read(self) -> None:
        try:
            part = self._channel.recv(READ_BYTES)
        except ConnectionResetError:
            part = b""
        if part:
            self._text += part
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        if (code := self._process.poll()) is not None:
            wait_for_own_end(code)
        self.close()
        raise EndedError("closed its channel" if code is None else f"ended the process ({how_ended(code)})")

    def _show(self) -> None:
        """Pass on its output, up to a limit."""
        part = os.read(self._output, READ_BYTES)
        if not part:
            os.close(self._output)
            self._output = -1
        if self._shown < MAX_SHOWN_BYTES:
            sys.stderr.write(_harmless(part[: MAX_SHOWN_BYTES - self._shown].decode(errors="replace")))
            self._shown += len(part)
            if self._shown >= MAX_SHOWN_BYTES:
                sys.stderr.write(f"\n(output of the function past {MAX_SHOWN_BYTES} bytes is omitted)\n")


def _strangers(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without secrets."""
    return {
        name: value for name, value in environment.items() if not name.startswith(OF_CI) and not name.endswith("TOKEN")
    }


def _harmless(text: str) -> str:
    """Text without terminal control characters and CI commands, which are lines that begin with two colons."""
    shown = "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)
    return shown.replace("::", ": :").replace("##[", "# #[")


def how_ended(code: int) -> str:
    """A process's return code in words: the signal that ended it, or "exit N"."""
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
