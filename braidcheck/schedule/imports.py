"""Finds ops that cannot be imported, in a child process that may die or hang."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence

from braidcheck.errors import in_one_line
from braidcheck.isolation.channel import Message
from braidcheck.isolation.process import ChildProcess, EndedError

DIED_COLLECTING = "died-collecting.txt"  # file in a run's folder: a worker ended before any had collected its items
COLLECT_S = 120  # seconds that a worker may take to collect its items, which imports every op
IMPORT_S = 60  # seconds that one op's import may take
START_S = 600  # seconds until a process has imported torch, on a loaded machine
CODE = """
import sys
from braidcheck.isolation.server import serve
from braidcheck.schedule.imports import answer
serve(int(sys.argv[1]), answer)
"""


def broken(names: Iterable[str], lane: str, start: Callable[..., ChildProcess] = ChildProcess) -> dict[str, str]:
    """The ops among ``names`` whose import ends the process, hangs or raises, and how, in one line."""
    reasons: dict[str, str] = {}
    child: ChildProcess | None = None
    for name in names:
        if child is None:
            child = start(CODE, settings={"TRITON_INTERPRET": "1"} if lane == "interpret" else {})
            child.ask({}, [], START_S)
        try:
            raised = str(child.ask({"import": f"braidcheck.kernels.{name}.op"}, [], IMPORT_S).get("raised", ""))
        except EndedError as how:
            raised, child = f"it {how}", None
        if raised:
            reasons[name] = f"{name} cannot be imported: {raised}"
    if child:
        child.close()
    return reasons


def answer(message: Message, fds: Sequence[int]) -> Message:
    """Import the op that a message names."""
    try:
        importlib.import_module(message["import"]) if "import" in message else None
    except Exception as error:  # an op's modules may raise anything
        return {"raised": in_one_line(error)}
    return {}
