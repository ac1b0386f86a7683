"""The gate's side of an engine: calls it, restarts it if it is gone, and rejects answers of a wrong shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from braidcheck.engines.process import EngineError, EngineGone
from braidcheck.engines.protocol import CLAIMS, METHODS
from braidcheck.engines.worker import Header

MAX_STARTS = 12  # of the engine, after which an engine that keeps ending is abandoned

Ids: TypeAlias = Sequence[int]


class Connection(Protocol):
    """One running engine: an `EngineProcess`, or a test double."""

    def call(self, request: Mapping[str, Any]) -> tuple[Header, bytes]:
        """The reply's header and bytes. Raises EngineError."""

    def close(self) -> None:
        """End it."""


@dataclass(frozen=True)
class Top:
    """Log-probabilities [T,k] float32 at ids [T,k] int32; ids are -1 where a row has fewer."""

    ids: Tensor
    logprobs: Tensor


Prefilled: TypeAlias = "Tensor | Top"


class Client:
    """An engine as its gates see it. ``start`` returns a new Connection; ``vocab`` is the model's vocabulary size."""

    def __init__(self, start: Callable[[], Connection], vocab: int) -> None:
        self._start, self.vocab = start, vocab
        self._connection: Connection | None = None
        self.starts = 0
        header = self._call({"call": "describe", "methods": METHODS, "claims": CLAIMS})[0]
        self.methods: frozenset[str] = frozenset(header["methods"])
        self.stops: frozenset[str] = frozenset(header["stops"])
        self.claims: Mapping[str, Any] = header["claims"]

    def restart(self) -> None:
        """Let the next request be the first of a new process."""
        self.close()

    def close(self) -> None:
        """End the engine."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def prefill(self, ids: Ids, rows: Ids | None = None) -> Prefilled:
        """Float32 logits [R,V] of ``rows`` of the prompt (all: None), or Top of all rows."""
        header, data = self._call(_request("prefill", [list(ids)], rows))
        return self._prefilled(header, memoryview(data), len(ids), rows)

    def prefill_batch(self, prompts: Sequence[Ids], rows: Ids | None = None) -> list[Prefilled]:
        """``prefill`` of each prompt; negative ``rows`` count from its end."""
        header, data = self._call(_request("prefill_batch", [[list(ids) for ids in prompts]], rows))
        return self._each(header, data, [len(ids) for ids in prompts], rows)

    def generate(self, ids: Ids, n: int, stop: Ids = ()) -> list[int]:
        """Greedy tokens."""
        return self._call(_request("generate", [list(ids), n], stop=stop))[0]["tokens"]

    def generate_batch(self, prompts: Sequence[Ids], n: int, stop: Ids = ()) -> list[list[int]]:
        """Greedy tokens of each prompt."""
        header, _ = self._call(_request("generate_batch", [[list(ids) for ids in prompts], n], stop=stop))
        return _as_many(header["answers"], len(prompts), "generate_batch")

    def stream(self, ids: Ids, n: int) -> list[int]:
        """All tokens of a stream."""
        return self._call(_request("stream", [list(ids), n]))[0]["tokens"]

    def sample(self, ids: Ids, n: int, *, stop: Ids = (), **options: float) -> list[int]:
        """Drawn tokens."""
        more = {"stop": list(stop)} if stop else {}
        return self._call({**_request("sample", [list(ids), n]), "options": {**options, **more}})[0]["tokens"]

    def sample_together(self, ids: Ids, n: int, seeds: Sequence[int], **options: float) -> list[list[int]]:
        """Sampled tokens of one prompt, from concurrent requests, each with its seed."""
        request = _request("sample", [list(ids), n])
        requests = [{**request, "options": {**options, "seed": seed}} for seed in seeds]
        return [reply["tokens"] for reply in self._call({"call": "together", "requests": requests})[0]["replies"]]

    def hidden_states(self, ids: Ids, rows: Ids) -> list[Tensor | None]:
        """Embedding and residual stream after each layer, at ``rows``: [R,H] float32."""
        header, data = self._call(_request("hidden_states", [list(ids)], rows))
        states: list[Tensor | None] = []
        view = memoryview(data)
        for reply in header["replies"]:
            shape = reply["shape"]
            if shape is not None and (len(shape) != 2 or shape[0] != len(ids)):
                raise EngineError(f"gave hidden states {shape} for {len(ids)} tokens: give [T,H] of each layer")
            size = 0 if shape is None else 4 * len(rows) * shape[1]
            states.append(None if shape is None else _floats(view[:size]).reshape(len(rows), shape[1]))
            view = view[size:]
        return states

    def generate_together(self, prompts: Sequence[Ids], counts: Sequence[int]) -> list[list[int]]:
        """Greedy tokens of prompts, from concurrent requests."""
        requests = [_request("generate", [list(ids), n]) for ids, n in zip(prompts, counts, strict=True)]
        return [reply["tokens"] for reply in self._call({"call": "together", "requests": requests})[0]["replies"]]

    def prefill_together(self, prompts: Sequence[Ids], rows: Ids) -> list[Prefilled]:
        """``prefill`` of prompts, from concurrent requests."""
        requests = [_request("prefill", [list(ids)], rows) for ids in prompts]
        header, data = self._call({"call": "together", "requests": requests})
        return self._each(header, data, [len(ids) for ids in prompts], rows)

    def _each(self, header: Header, data: bytes, lengths: Sequence[int], rows: Ids | None) -> list[Prefilled]:
        view, parts = memoryview(data), []
        for reply, length in zip(_as_many(header["replies"], len(lengths), "prefill_batch"), lengths, strict=True):
            size = _bytes_of(reply, length, rows)
            parts.append(self._prefilled(reply, view[:size], length, rows))
            view = view[size:]
        return parts

    def _prefilled(self, header: Header, data: memoryview, length: int, rows: Ids | None) -> Prefilled:
        if "top" in header:
            count, width = header["top"]
            if count != length:
                raise EngineError(f"gave log-probabilities of {count} positions for {length} tokens")
            ids = torch.frombuffer(bytearray(data[: len(data) // 2]), dtype=torch.int32) if width else torch.empty(0)
            values = _floats(data[len(data) // 2 :])
            if width and int(ids.max()) >= self.vocab:
                raise EngineError(f"gave the token {int(ids.max())}, the model has {self.vocab}: is it another model?")
            return Top(ids.int().reshape(count, width), values.reshape(count, width))
        if header["shape"] != [length, self.vocab]:
            raise EngineError(f"gave logits {header['shape']}, [{length}, {self.vocab}] were expected")
        return _floats(data).reshape(-1, self.vocab)

    def _call(self, request: Mapping[str, Any]) -> tuple[Header, bytes]:
        if self._connection is None:
            if self.starts == MAX_STARTS:
                raise EngineGone(f"was not called: its process was started {MAX_STARTS} times before")
            self.starts += 1
            self._connection = self._start()
        try:
            return self._connection.call(request)
        except EngineGone:
            self._connection = None
            raise


def _request(call: str, arguments: list[Any], rows: Ids | None = None, stop: Ids = ()) -> dict[str, object]:
    more = {"options": {"stop": list(stop)}} if stop else {}
    return {"call": call, "arguments": arguments, "rows": None if rows is None else list(rows), **more}


def _bytes_of(reply: Header, length: int, rows: Ids | None) -> int:
    if "top" in reply:
        return 8 * reply["top"][0] * reply["top"][1]
    shape = reply["shape"]
    return 4 * (length if rows is None else len(rows)) * (shape[-1] if shape else 0)


def _floats(data: memoryview) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.float32) if len(data) else torch.empty(0)


def _as_many(answers: list[Any], count: int, method: str) -> list[Any]:
    if len(answers) != count:
        raise EngineError(f"{method} gave {len(answers)} answers to {count} prompts")
    return answers


def tokens_of(prefilled: Prefilled) -> Iterator[int]:
    """The best id of each row; -1 for a missing row."""
    if isinstance(prefilled, Top):
        for ids, values in zip(prefilled.ids, prefilled.logprobs, strict=True):
            present = ids >= 0
            yield int(ids[present][values[present].argmax()]) if present.any() else -1
    else:
        yield from prefilled.argmax(dim=-1).tolist()
