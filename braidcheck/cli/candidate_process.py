"""Runs a function in a process of its own that may die or hang: exactly the check in which it does so fails."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from braidcheck import environment
from braidcheck.cli.candidate_worker import Request
from braidcheck.errors import UserError
from braidcheck.report.progress import Progress
from braidcheck.result import Status, Verdict

MAX_PROCESSES = 6  # after which a function that always ends its process is asked no more

WORKER = "from braidcheck.cli.candidate_worker import main; main()"


class _Ended(Exception):
    """The process ended or was ended before it had said all; the message says how."""


def evaluate(request: Request, timeout: float) -> list[Verdict]:
    """A verdict on each subject. Raises UserError where there is no such function or subject.

    A subject may take ``timeout`` seconds, and so may the import of the function.
    """
    subjects: list[tuple[str, str]] = []
    verdicts: list[Verdict] = []
    with Progress(f"checking {request['op']}") as progress:
        for _ in range(MAX_PROCESSES):
            try:
                for row in _rows({**request, "skip": len(verdicts)}, timeout):
                    if "subjects" in row:
                        subjects = subjects or [(gate, name) for gate, name in row["subjects"]]
                    elif "begin" in row:
                        progress(subjects[len(verdicts)][1], len(verdicts), len(subjects))
                    elif "verdict" in row:
                        verdicts.append(_verdict(row["verdict"], *subjects[len(verdicts)]))
                return verdicts
            except _Ended as how:
                if not subjects:
                    raise UserError(f"{request['function']} cannot be imported: {how}") from None
                if len(verdicts) < len(subjects):
                    verdicts.append(Verdict(*subjects[len(verdicts)], Status.FAIL, f"the function {how}"))
            if len(verdicts) == len(subjects):
                return verdicts
    why = f"not run: the function ended or held up its process {MAX_PROCESSES} times before"
    return verdicts + [Verdict(*subject, Status.ERROR, why) for subject in subjects[len(verdicts) :]]


def _verdict(text: str, gate: str, subject: str) -> Verdict:
    verdict = Verdict.from_json(text)
    if (verdict.gate, verdict.subject) != (gate, subject):
        return Verdict(gate, subject, Status.ERROR, f"its process answered for {verdict.id}")
    return verdict


def _rows(request: Request, timeout: float) -> Iterator[dict[str, Any]]:
    """What the process says, line by line, until it has said all. Raises _Ended where it does not come to that."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(writer), json.dumps(request)],
        pass_fds=(writer,), stdin=subprocess.DEVNULL, stdout=2, start_new_session=True,
        env=_environment(request["device"]),
    )  # fmt: skip
    os.close(writer)
    try:
        for line in _lines(reader, timeout):
            row = json.loads(line)
            if "refused" in row:
                raise UserError(row["refused"])
            if "end" in row:  # what the function left behind, threads and atexit, has no say any more
                return
            yield row
        raise _Ended(f"ended the process ({_how(process.wait())})")
    except TimeoutError:
        raise _Ended(f"is still running after {timeout:g} s; --timeout allows more") from None
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever it started, too
        process.wait()


def _environment(device: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(environment.PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path} | ({"TRITON_INTERPRET": "1"} if device == "cpu" else {})


def _lines(reader: int, timeout: float) -> Iterator[bytes]:
    """Lines from a pipe until all who can write to it have closed it. Raises TimeoutError when none comes in time."""
    text = b""
    while True:
        end = time.monotonic() + timeout
        while b"\n" not in text:
            if not select.select([reader], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError
            if not (part := os.read(reader, 1 << 16)):
                return
            text += part
        line, text = text.split(b"\n", 1)
        yield line


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
