"""Kills writers of a history in the middle, again and again: what was finished is there, and no file is torn.

    python -m tools.kill_history --kills 1000 --writers 8 [--seed N]

Exit code 1 where a finished Run is lost or a file is not whole.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from braidcheck.ci import history
from braidcheck.result import Run, Status, Verdict

MAX_LIFE_S = 0.05  # seconds after which a writer is killed at the latest
VERDICTS = 200  # of a Run: some 50 KB, which is more than one write


def a_run(writer: int, number: int) -> Run:
    """A Run that no other writer has."""
    subjects = (f"op[{writer} {number} {index}]" for index in range(VERDICTS))
    verdicts = tuple(Verdict("accuracy", subject, Status.PASS, "fine", value=0.5, limit=1.0) for subject in subjects)
    about = {"started": "2026-11-20T10:00:00+00:00", "commit": f"{writer}-{number}", "processor": "x"}
    return Run(about, tuple(verdict.id for verdict in verdicts), verdicts)


def write(folder: Path, log: int, writer: int) -> None:
    """Add Runs without end; each that is finished is said in the file ``log``, a line with its commit."""
    for number in itertools.count():
        run = a_run(writer, number)
        history.store({history.name(run): run.to_json()}, folder)
        os.write(log, f"{writer}-{number}\n".encode())


def start(folder: Path, log: int, writer: int) -> int:
    """The process of a new writer."""
    process = os.fork()
    if process:
        return process
    try:
        write(folder, log, writer)
    finally:
        os._exit(1)


def kill(folder: Path, log: int, kills: int, writers: int, dice: random.Random) -> None:
    """Keep so many writers at work until so many were killed."""
    numbers = itertools.count()
    alive = [start(folder, log, next(numbers)) for _ in range(writers)]
    for _ in range(kills):
        time.sleep(dice.uniform(0, MAX_LIFE_S))
        victim = alive.pop(dice.randrange(writers))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        alive.append(start(folder, log, next(numbers)))
    for process in alive:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def lost(folder: Path, finished: set[str]) -> set[str]:
    """Of the commits that were ``finished``, those that the history lacks. Raises UserError for a torn file."""
    return finished - {entry.run.environment["commit"] for entry in history.read(folder)}


def main(words: list[str]) -> int:
    """Print how many were killed, finished and lost."""
    parser = argparse.ArgumentParser(prog="python -m tools.kill_history")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as place:
        folder, journal = Path(place, "history"), Path(place, "finished.txt")
        log = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        kill(folder, log, options.kills, options.writers, random.Random(options.seed))
        finished = set(journal.read_text(encoding="utf-8").split())
        missing = lost(folder, finished)
        print(f"{options.kills} kills of {options.writers} writers: {len(finished)} Runs finished, {len(missing)} lost")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
