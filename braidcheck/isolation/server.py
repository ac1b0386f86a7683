"""The child process that runs functions: it makes tensors on shared memory, calls, and writes results as bytes. Its
reports come from the function's own process and are not trusted; numbers are evaluated by the parent.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from braidcheck.isolation import channel
from braidcheck.isolation.channel import Message
from braidcheck.isolation.memory import Mapping as Shared
from braidcheck.isolation.memory import view

Call = Callable[..., Any]
Within = Callable[[Call, Sequence[tuple[str, Any]], list[Any]], Call]  # the call in its contexts, and what they record


class Server:
    """Answers an ``Exchange``; ``within`` wraps a call in named contexts."""

    def __init__(self, file: int, within: Within) -> None:
        self._file, self._within = file, within
        self._shared: dict[int, Shared] = {}
        self._results: dict[int, list[Tensor]] = {}
        self._made, self._end = 0, 0

    def answer(self, message: Message, fds: Sequence[int], function: Call | None) -> Message:
        """The answer to one message. Raises what the call raises."""
        for number in message.get("drop", []):
            del self._shared[number]
        for number in message.get("release", []):
            self._results.pop(number, None)
        self._end = 0
        if "look" in message:
            return {"live": self._live(None)}
        for (number, start, size, device), fd in zip(message["regions"], fds, strict=True):
            self._shared[number] = Shared(fd, start, size, device)
        arguments = {name: self._decoded(value) for name, value in message["call"].items()}
        used = {row["tensor"][0] for row in message["call"].values() if "tensor" in row} - {0}
        return self._called(function, arguments, [self._shared[number] for number in used], message["within"])

    def _called(self, function: Any, arguments: Mapping[str, Any], used: Sequence[Shared], within: Any) -> Message:
        for shared in used:
            shared.take()
        results: list[Any] = [None] * len(within)
        try:
            returned = self._within(function, within, results)(**arguments)
            if any(shared.placed.is_cuda for shared in used):
                torch.cuda.synchronize()
        finally:
            for shared in used:
                shared.give()
        many = type(returned) in (tuple, list)
        before = {number: len(tensors) for number, tensors in self._results.items()}
        outputs = [self._output(value) for value in (returned if many else [returned])]
        return {"outputs": outputs, "many": many, "found": results, "live": self._live(before)}

    def _decoded(self, row: Message) -> Any:
        if "dtype" in row:
            return getattr(torch, row["dtype"])
        if "tensor" not in row:
            return row["value"]
        region, dtype, offset, shape, stride = row["tensor"]
        if not region:
            return torch.empty_strided(shape, stride, dtype=getattr(torch, dtype), device=self._device())
        return view(self._shared[region].placed.untyped_storage(), getattr(torch, dtype), offset, shape, stride)

    def _device(self) -> str:
        return next((shared.placed.device.type for shared in self._shared.values()), "cpu")

    def _output(self, value: Any) -> Message:
        if not isinstance(value, Tensor):
            return {"other": type(value).__name__}
        if type(value) not in (Tensor, torch.nn.Parameter):
            return {"odd": f"is {type(value).__name__}, a subclass of Tensor: return a plain tensor"}
        if value.layout is not torch.strided or value.device.type not in ("cpu", "cuda"):
            return {"odd": f"is a {value.layout} tensor on {value.device}: return a dense one with data"}
        value = value.detach().resolve_conj().resolve_neg()
        row = {"dtype": str(value.dtype).removeprefix("torch."), "device": value.device.type,
               "shape": list(value.shape), "stride": list(value.stride())}  # fmt: skip
        return row | self._placed(value)

    def _placed(self, value: Tensor) -> Message:
        """The location of a tensor: in an argument, or in a result's memory, whose bytes are then written."""
        address = value.data_ptr()
        for number, shared in self._shared.items():
            offset = shared.offset_of(address)
            if offset is not None and value.numel():
                return {"region": number, "offset": offset}
        storage = value.untyped_storage()
        number, at = self._number_of(storage), self._written(value)
        self._results.setdefault(number, []).append(value)  # from now on it is written again each time
        offset = value.storage_offset() * value.element_size()
        return {"result": number, "size": storage.nbytes(), "offset": offset, "at": at}

    def _number_of(self, storage: Any) -> int:
        for number, tensors in self._results.items():
            if tensors[0].untyped_storage().data_ptr() == storage.data_ptr() and storage.nbytes():
                return number
        self._made += 1
        return self._made

    def _live(self, counts: Mapping[int, int] | None) -> list[list[int]]:
        """The first ``counts`` results of each memory, by default all, as they are now."""
        rows = []
        for number, tensors in self._results.items():
            for index, tensor in enumerate(tensors if counts is None else tensors[: counts.get(number, 0)]):
                rows.append([number, index, self._written(tensor)])
        return rows

    def _written(self, value: Tensor) -> int:
        """The offset in the results file at which the elements' bytes were written."""
        packed, start = value.contiguous().cpu(), self._end
        left = memoryview((ctypes.c_char * packed.nbytes).from_address(packed.data_ptr())) if packed.numel() else b""
        while len(left):
            count = os.pwrite(self._file, left, self._end)
            left, self._end = left[count:], self._end + count
        return start


def serve(number: int, answer: Callable[[Message, list[int]], Message]) -> None:
    """Answer all messages on the channel ``number`` until it is closed; processes forked from this one stay silent."""
    own, connection = os.getpid(), socket.socket(fileno=number)
    for message, fds in _messages(connection):
        reply = answer(message, fds)
        if os.getpid() != own:
            os._exit(0)
        channel.send(connection, {**reply, "number": message["number"]})
    os._exit(0)  # skip the function's threads and exit handlers


def _messages(connection: socket.socket) -> Iterator[tuple[Message, list[int]]]:
    while True:
        try:
            yield channel.receive(connection)
        except EOFError:
            return
