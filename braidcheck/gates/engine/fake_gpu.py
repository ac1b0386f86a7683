"""A fake GPU that computes nothing: host code runs on tensors without memory, and its requests to the GPU are counted.
Counts are the same on every machine and in both lanes, except for the lane's launch configs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

from braidcheck.gates.under_test import module
from braidcheck.static.launches import Launch

READS: Mapping[str, Callable[[Tensor], Any]] = {  # operations that wait for the GPU, and this GPU's answer: zeros
    "item": lambda tensor: 0,
    "__int__": lambda tensor: 0,
    "__index__": lambda tensor: 0,
    "__float__": lambda tensor: 0.0,
    "__bool__": lambda tensor: False,
    "equal": lambda tensor: False,
    "allclose": lambda tensor: False,
}
FAR_APART = 1 << 40  # bytes between two storages
# Methods that change a tensor in place: here there is nothing to compute.
IN_PLACE = re.compile(r"__setitem__|__i(?!nt__|nvert__|ndex__)\w+__|[a-z]\w*[a-z]_")


@dataclass
class Work:
    """Work submitted to the GPU: kernel launches by specialisation, PyTorch's own kernels by name, allocations, reads
    that make the host wait, and replayed graphs."""

    launches: list[str] = field(default_factory=list)
    torch_kernels: Counter[str] = field(default_factory=Counter)
    allocations: int = 0
    allocated_bytes: int = 0
    reads: Counter[str] = field(default_factory=Counter)
    replays: int = 0

    def read(self, name: str, of_gpu: bool = True) -> None:
        """Count a read by its name, if it is one ``of_gpu``."""
        if of_gpu:
            self.reads[name] += 1

    @property
    def submissions(self) -> int:
        """Submissions by the host, each at the cost of a launch."""
        return len(self.launches) + self.torch_kernels.total() + self.replays


@dataclass
class FakeGPU:
    """``host`` is the work that the host submitted itself, ``graphs`` the work of each CUDA graph."""

    host: Work = field(default_factory=Work)
    graphs: list[Work] = field(default_factory=list)
    recording: Work | None = None

    @property
    def work(self) -> Work:
        """The counter for the current submissions."""
        return self.host if self.recording is None else self.recording

    @contextmanager
    def counted(self) -> Iterator[FakeGPU]:
        """A context with its own counts, which are final when it ends."""
        before = self.host, self.graphs
        within = FakeGPU()
        self.host, self.graphs = within.host, within.graphs
        try:
            yield within
        finally:
            self.host, self.graphs = before


@contextmanager
def fake_gpu() -> Iterator[FakeGPU]:
    """A context in which tensors on "cuda" take no memory and kernels do not run; requests are counted."""
    gpu, memory, interpreter = FakeGPU(), module("models.memory"), module("kernels.common.interpreter")
    with ExitStack() as stack:
        for owner, name, stand_in in (
            (JITFunction, "run", _launch(gpu)),
            (InterpretedFunction, "run", _launch(gpu)),
            (FakeTensor, "tolist", _tolist(gpu)),
            (FakeTensor, "data_ptr", _addresses()),
            (interpreter, "DEVICE_TYPE", "cuda"),
            (memory, "free_bytes", lambda device: None),
            (torch.cuda, "CUDAGraph", lambda: _Graph(gpu)),
            (torch.cuda, "graph", _recording),
            (torch.cuda, "synchronize", lambda device=None: gpu.work.read("synchronize")),
        ):
            stack.enter_context(patch.object(owner, name, stand_in))
        for mode in (FakeTensorMode(allow_non_fake_inputs=True), _Calls(gpu), _Kernels(gpu)):
            stack.enter_context(mode)
        yield gpu


def _addresses() -> Callable[[Tensor], int]:
    """A fake address for each tensor: shared memory has one address, all other memory is far away."""
    places: dict[int, int] = {}

    def address(tensor: Tensor) -> int:
        place = places.setdefault(tensor.untyped_storage()._cdata, len(places) + 1)
        return place * FAR_APART + tensor.storage_offset() * tensor.itemsize

    return address


class _Graph:
    """Stands in for a CUDA graph."""

    def __init__(self, gpu: FakeGPU) -> None:
        self.gpu = gpu

    def replay(self) -> None:
        self.gpu.work.replays += 1


@contextmanager
def _recording(graph: _Graph, **options: Any) -> Iterator[None]:
    """A context whose submissions belong to the graph."""
    work = Work()
    graph.gpu.graphs.append(work)
    graph.gpu.recording = work
    try:
        yield
    finally:
        graph.gpu.recording = None


def _launch(gpu: FakeGPU) -> Callable[..., None]:
    kernels: dict[Any, JITFunction] = {}  # kept alive, so that ids are unique

    def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        if kernel not in kernels:
            kernels[kernel] = kernel if isinstance(kernel, JITFunction) else JITFunction(kernel.fn, **kernel.kwargs)
        jit = kernels[kernel]
        arguments = {param.name: param.default for param in jit.params if param.has_default}
        arguments |= dict(zip(jit.arg_names, args, strict=False)) | options
        rest = {name: value for name, value in options.items() if name not in jit.arg_names}
        gpu.work.launches.append(f"{id(kernel)} {Launch.of(jit, arguments, rest).name}")

    return run


class _Calls(TorchFunctionMode):
    """Answers operations that wait for the GPU, and emulates those that a PyTorch without CUDA refuses for CUDA
    tensors."""

    def __init__(self, gpu: FakeGPU) -> None:
        self.gpu = gpu

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if not (args and isinstance(args[0], Tensor)):
            return func(*args, **(kwargs or {}))
        if name in READS:
            self.gpu.work.read(name, args[0].is_cuda)
            return READS[name](args[0])
        if name == "__getitem__":
            return _part(args[0], args[1])
        if name == "__invert__":
            return torch.ops.aten.bitwise_not(args[0])
        if IN_PLACE.fullmatch(name):
            if args[0].is_cuda:
                self.gpu.work.torch_kernels[name] += 1
            else:
                self.gpu.work.read(name, getattr(args[-1], "is_cuda", False))
            return args[0]
        return func(*args, **(kwargs or {}))


class _Kernels(TorchDispatchMode):
    """Counts PyTorch's own kernels, allocations and copies to the host."""

    def __init__(self, gpu: FakeGPU) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not func.is_view:
            self._count(func.overloadpacket.__name__, args, result)
        return result

    def _count(self, name: str, args: tuple[Any, ...], result: Tensor) -> None:
        work = self.gpu.work
        if not result.is_cuda:
            work.read(name, any(isinstance(given, Tensor) and given.is_cuda for given in args))
            return
        if not name.startswith(("empty", "new_empty")):
            work.torch_kernels[name] += 1
        if not any(result is given for given in args):
            work.allocations += 1
            work.allocated_bytes += result.nbytes


def _part(tensor: Tensor, index: Any) -> Tensor:
    """``tensor[index]``, without the device guard, which a PyTorch without CUDA does not have."""
    indices, axis = index if isinstance(index, tuple) else (index,), 0
    for one in indices:
        if one is Ellipsis:
            axis += tensor.dim() - sum(given is not None for given in indices if given is not Ellipsis)
        elif one is None:
            tensor = tensor.unsqueeze(axis)
            axis += 1
        elif isinstance(one, int):
            tensor = tensor.select(axis, one)
        elif isinstance(one, slice):
            tensor = torch.ops.aten.slice(tensor, axis, one.start, one.stop, one.step or 1)
            axis += 1
        else:
            tensor = torch.ops.aten.index(tensor, [None] * axis + [one])
            axis += 1
    return tensor


def _tolist(gpu: FakeGPU) -> Callable[[Tensor], Any]:
    def tolist(tensor: Tensor) -> Any:
        gpu.work.read("tolist", tensor.is_cuda)
        return _zeros(tuple(tensor.shape))

    return tolist


def _zeros(shape: tuple[int, ...]) -> Any:
    return [_zeros(shape[1:]) for _ in range(shape[0])] if shape else 0
