"""The program in which an engine runs: requests come in as JSON lines, replies go out as JSON and raw numbers. Its
Python need not have braidcheck: it uses only the standard library, from Python 3.8 on, and what the engine imports. It
gets prompts only: the expected answers never reach this process.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import inspect
import json
import os
import signal
import sys
from array import array
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any, TypedDict

PR_SET_PDEATHSIG = 1


class Header(TypedDict, total=False):
    """The line of JSON that begins a reply. ``bytes`` raw numbers follow it.

    ``made`` once the engine stands; of ``describe`` the four from ``methods`` on; of a call, what it gave: ``tokens``,
    ``answers`` of a batch, the ``shape`` of float32 numbers, or in ``top`` that of ids and log-probabilities;
    ``replies`` where there are several. ``raised`` is an error in one line, after a ``fatal`` one the engine is gone.
    """

    bytes: int
    made: bool
    methods: list[str]
    stops: list[str]
    claims: dict[str, Any]
    name: str
    tokens: list[int]
    answers: list[list[int]]
    shape: list[int] | None
    top: list[int]
    replies: list[Header]
    raised: str
    fatal: bool


if TYPE_CHECKING:  # Python 3.8 cannot evaluate it
    Reply = tuple[Header, list[bytes]]


class Host:
    """One engine and the requests to it."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def describe(self, methods: list[str], claims: Mapping[str, Any]) -> Header:
        """The engine's methods, its claims, and which methods take ``stop``."""
        present = [name for name in methods if callable(getattr(self.engine, name, None))]
        stops = [name for name in present if "stop" in inspect.signature(getattr(self.engine, name)).parameters]
        values = {name: type(default)(getattr(self.engine, name, default)) for name, default in claims.items()}
        return {"methods": present, "stops": stops, "claims": values, "name": type(self.engine).__name__}

    def answer(self, request: Mapping[str, Any]) -> Reply:
        """The reply to one request: its header, and the bytes that follow it."""
        if request["call"] == "describe":
            return self.describe(request["methods"], request["claims"]), []
        if request["call"] == "together":
            with ThreadPoolExecutor(len(request["requests"])) as pool:
                replies = list(pool.map(self.answer, request["requests"]))
            return {"replies": [header for header, _ in replies]}, [part for _, parts in replies for part in parts]
        method, arguments = getattr(self.engine, request["call"]), request["arguments"]
        result = method(*arguments, **request.get("options", {}))
        return getattr(self, "_" + request["call"])(result, request.get("rows"))

    def _prefill(self, result: Any, rows: Any) -> Reply:
        if hasattr(result, "ids") and hasattr(result, "logprobs"):
            return _top(result)
        shape, data = _floats(result, rows)
        return {"shape": shape}, [data]

    def _prefill_batch(self, result: Any, rows: Any) -> Reply:
        replies = [self._prefill(one, rows) for one in result]
        return {"replies": [header for header, _ in replies]}, [part for _, parts in replies for part in parts]

    def _hidden_states(self, result: Any, rows: Any) -> Reply:
        replies = [_hidden_state(one, rows) for one in result]
        return {"replies": [header for header, _ in replies]}, [part for _, part in replies]

    def _generate(self, result: Any, _rows: Any) -> Reply:
        return {"tokens": [_whole(token) for token in result]}, []

    _sample = _stream = _generate

    def _generate_batch(self, result: Any, _rows: Any) -> Reply:
        return {"answers": [[_whole(token) for token in row] for row in result]}, []


def _whole(token: Any) -> int:
    return int(token.__index__())


def _hidden_state(values: Any, rows: Any) -> tuple[Header, bytes]:
    if values is None:
        return {"shape": None}, b""
    shape, data = _floats(values, rows)
    return {"shape": shape}, data


def _floats(values: Any, rows: list[int] | None) -> tuple[list[int], bytes]:
    """The shape of an array [T,N], and its ``rows`` (all: None) as float32, row by row."""
    if hasattr(values, "detach"):  # torch
        values = values.detach()
        shape = [int(size) for size in values.shape]
        picked = (values if rows is None else values[rows]).float().cpu().contiguous()
        return shape, ctypes.string_at(picked.data_ptr(), picked.numel() * 4) if picked.numel() else b""
    if hasattr(values, "__array__"):
        import numpy

        numbers = numpy.asarray(values)
        return list(numbers.shape), numpy.ascontiguousarray(
            numbers if rows is None else numbers[rows], "float32"
        ).tobytes()
    table = [list(row) for row in values]
    width = len(table[0]) if table else 0
    if any(len(row) != width for row in table):
        raise ValueError("the rows of an array differ in length")
    picked = table if rows is None else [table[row] for row in rows]
    return [len(table), width], array("f", chain.from_iterable(picked)).tobytes()


def _top(result: Any) -> Reply:
    """Ids and log-probabilities, padded to one width by the id -1."""
    ids, logprobs = [list(row) for row in result.ids], [list(row) for row in result.logprobs]
    if [len(row) for row in ids] != [len(row) for row in logprobs]:
        raise ValueError("the rows of ids and of logprobs are not of the same lengths")
    width = max(map(len, ids), default=0)
    padded = array("i", chain.from_iterable([_whole(id) for id in row] + [-1] * (width - len(row)) for row in ids))
    values = array("f", chain.from_iterable([float(v) for v in row] + [0.0] * (width - len(row)) for row in logprobs))
    return {"top": [len(ids), width]}, [padded.tobytes(), values.tobytes()]


def load(name: str, shipped: bool) -> Any:
    """The factory called ``FILE.py:factory`` or ``package.module:factory``."""
    where, _, attribute = name.rpartition(":")
    if where.endswith(".py"):
        if not shipped:
            sys.path.append(os.path.dirname(os.path.abspath(where)))  # its neighbours, after all installed packages
        spec = importlib.util.spec_from_file_location("engine_" + os.path.basename(where)[:-3], where)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(where)
    for part in attribute.split("."):
        module = getattr(module, part)
    return module


def build(factory: Any, arguments: list[str]) -> Any:
    """The factory's engine; a factory that takes no argument gets none."""
    takes = [p for p in inspect.signature(factory).parameters.values() if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
    return factory(*arguments) if any(p.kind == p.VAR_POSITIONAL for p in takes) else factory(*arguments[: len(takes)])


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (": " + lines[0][:300] if lines else "")


def main() -> None:
    """Run with READ WRITE START: the pipes' numbers and, as JSON, the factory's name, whether it ships with braidcheck,
    and its arguments."""
    requests, replies = os.fdopen(int(sys.argv[1]), "rb"), os.fdopen(int(sys.argv[2]), "wb")
    start = json.loads(sys.argv[3])

    def reply(header: Header, parts: list[bytes]) -> None:
        replies.write(json.dumps(dict(header, bytes=sum(map(len, parts)))).encode() + b"\n")
        for part in parts:
            replies.write(part)
        replies.flush()

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # must not outlive the command
    os.dup2(2, 1)  # the engine's output must not mix with answers
    try:
        host = Host(build(load(start["factory"], start["shipped"]), start["arguments"]))
        reply({"made": True}, [])
        for line in requests:
            try:
                header, parts = host.answer(json.loads(line))
            except Exception as error:  # whatever the user's engine raises is the answer to this request
                header, parts = {"raised": _one_line(error)}, []
            reply(header, parts)
        close = getattr(host.engine, "close", None)
        if close:
            close()
    except BaseException as error:
        reply({"raised": _one_line(error), "fatal": True}, [])


if __name__ == "__main__":
    main()
