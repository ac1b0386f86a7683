"""The parent's side of calls in another process: arguments go there as shared memory, results come back as bytes. A
returned tensor is a replica: it shares memory with an argument or another result if the original does, and it follows
later changes of the original. Everything that the process sends is validated before use.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, UntypedStorage

from braidcheck.isolation import surroundings
from braidcheck.isolation.channel import Message
from braidcheck.isolation.memory import Region, view
from braidcheck.isolation.process import ChildProcess, EndedError

MAX_RESULT_BYTES = 1 << 36
MAX_AXES = 16
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128, torch.uint8,
        torch.int8, torch.int16, torch.int32, torch.int64, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2,
    )
}  # fmt: skip


class NotPlain(str):
    """Why an output is not a plain tensor."""


class Exchange:
    """Calls a process made by ``start``, which is called again after the process ended; it writes results to the
    in-memory ``file``. ``loaded`` is what the current process has loaded.
    """

    def __init__(self, start: Callable[[], ChildProcess], file: int) -> None:
        self._start, self._file, self.loaded = start, file, ""
        self._child: ChildProcess | None = None
        self._regions: dict[int, Region] = {}
        self._results: dict[int, list[weakref.ref[Tensor]]] = {}
        self._made = 0

    def ask(self, message: Message, timeout: float) -> Message:
        """The answer to a message without tensors. Raises EndedError, after which the next message starts a new
        process."""
        return self._ask(message, [], timeout)

    def call(self, arguments: Mapping[str, Any], timeout: float) -> Message:
        """The answer to a call; its ``outputs`` are tensors, or placeholders for other objects. Arguments then hold
        what the function left in them.
        """
        # The caller may watch or fill new tensors: not those made here.
        with torch._C.DisableTorchFunction():
            dropped, around = self._dropped(), surroundings.current()
            arguments = {
                **arguments,
                **{f".{name}": each.arguments[name] for each in around for name in each.arguments},
            }
            groups: dict[int, list[Tensor]] = {}
            for value in arguments.values():
                if isinstance(value, Tensor) and value.numel():
                    groups.setdefault(value.untyped_storage()._cdata, []).append(value)
            fresh = [self._new_region(group[0]) for cdata, group in groups.items() if cdata not in self._regions]
            for cdata, group in groups.items():
                self._regions[cdata].write(group)
            message = {
                "call": {name: self._encoded(value) for name, value in arguments.items()},
                "regions": [region.described for region in fresh],
                "within": [[each.name, each.value] for each in around],
                **dropped,
            }
            answer = self._ask(message, [region.fd for region in fresh], timeout)
            for cdata, group in groups.items():
                self._regions[cdata].read(group)
            if answer.pop("last", False) is True:  # it broke its GPU context: the next message starts a new process
                self.close()
                return answer
            try:
                self._follow(answer.get("live", []))
                answer["outputs"] = [self._output(row, groups) for row in answer.get("outputs", [])]
            except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError) as error:
                self.close()
                raise EndedError(f"sent an invalid answer: {error}") from None
            for each, said in zip(around, answer.get("found", []), strict=False):
                each.tell(said)
        return answer

    def look(self, timeout: float) -> None:
        """Update results that are still alive to their current contents in the process."""
        with torch._C.DisableTorchFunction():
            self._follow(self._ask({"look": True, **self._dropped()}, [], timeout).get("live", []))

    def close(self) -> None:
        """End the process; the next message starts another one."""
        if self._child:
            self._child.close()
        self._child, self.loaded = None, ""
        for region in self._regions.values():
            region.close()
        self._regions, self._results = {}, {}

    def _ask(self, message: Message, fds: list[int], timeout: float) -> Message:
        if self._child is None:
            self._child = self._start()
        try:
            return self._child.ask(message, fds, timeout)
        except BaseException:
            self.close()
            raise

    def _new_region(self, tensor: Tensor) -> Region:
        storage = tensor.untyped_storage()
        self._made += 1
        region = self._regions[storage._cdata] = Region(self._made, storage)
        return region

    def _dropped(self) -> Message:
        """Results that are no longer alive, for the process to drop too."""
        dead = [cdata for cdata, region in self._regions.items() if region.alive.expired()]
        regions = [self._regions.pop(cdata) for cdata in dead]
        for region in regions:
            region.close()
        results = [
            number for number, tensors in self._results.items() if not any(each() is not None for each in tensors)
        ]
        for number in results:
            del self._results[number]
        return {"drop": [region.number for region in regions], "release": results}

    def _encoded(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            dtype, shape, stride = str(value.dtype).removeprefix("torch."), list(value.shape), list(value.stride())
            region = self._regions[value.untyped_storage()._cdata].number if value.numel() else 0
            return {"tensor": [region, dtype, value.storage_offset(), shape, stride]}
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        return {"value": value}

    def _output(self, row: Message, groups: Mapping[int, list[Tensor]]) -> Any:
        if "odd" in row:
            return NotPlain(str(row["odd"]))
        if "other" in row:
            return type(_name(row["other"]), (), {})()  # a placeholder for something other than a tensor
        dtype, offset = DTYPES[row["dtype"]], _count(row["offset"])
        shape, stride = ([_count(size) for size in row[name]] for name in ("shape", "stride"))
        if len(shape) != len(stride) or len(shape) > MAX_AXES or offset % dtype.itemsize:
            raise ValueError("an impossible tensor")
        if "region" in row:
            groups_by_number = {self._regions[cdata].number: group for cdata, group in groups.items()}
            return view(
                groups_by_number[row["region"]][0].untyped_storage(), dtype, offset // dtype.itemsize, shape, stride
            )
        number = _count(row["result"])
        known = [tensor for ref in self._results.get(number, []) if (tensor := ref()) is not None]
        storage = known[0].untyped_storage() if known else _storage(row)
        output = view(storage, dtype, offset // dtype.itemsize, shape, stride)
        self._fill(output, row["at"])
        self._results.setdefault(number, []).append(weakref.ref(output))
        return output

    def _follow(self, live: list[list[int]]) -> None:
        for number, index, at in live:
            if (tensor := self._results[number][index]()) is not None:
                self._fill(tensor, at)

    def _fill(self, tensor: Tensor, at: int) -> None:
        """Copy the bytes from ``at`` in the file of results, in the order of the elements, into ``tensor``."""
        if not tensor.numel():
            return
        num_bytes = tensor.numel() * tensor.element_size()
        if os.fstat(self._file).st_size < _count(at) + num_bytes:
            raise ValueError("a result of fewer bytes than it has")
        data = bytearray(num_bytes)
        os.preadv(self._file, [data], at)
        packed = torch.frombuffer(data, dtype=tensor.dtype).view(tensor.shape).to(tensor.device)
        for axis, stride in enumerate(tensor.stride()):  # one element for all of an axis
            if not stride and tensor.shape[axis]:
                tensor, packed = tensor.narrow(axis, 0, 1), packed.narrow(axis, 0, 1)
        tensor.copy_(packed)


def _storage(row: Message) -> UntypedStorage:
    size = _count(row["size"])
    if size > MAX_RESULT_BYTES or row["device"] not in ("cpu", "cuda"):
        raise ValueError("an impossible result")
    return UntypedStorage(size, device=row["device"])


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise ValueError("a number that is not a count")
    return value


def _name(value: object) -> str:
    return value if isinstance(value, str) and value.isidentifier() and len(value) < 80 else "object"
