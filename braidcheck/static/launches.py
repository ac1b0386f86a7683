"""Records what wrappers launch without running it: kernels with their arguments' types, constants and hints."""

from __future__ import annotations

import hashlib
import importlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel, make_backend
from triton.runtime.jit import JITFunction
from triton.tools.tensor_descriptor import TensorDescriptor

from braidcheck.op import Case, Op

TYPES = {
    "float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float64": "fp64", "int64": "i64", "int32": "i32",
    "int16": "i16", "int8": "i8", "uint8": "u8", "bool": "i1", "float8_e4m3fn": "fp8e4nv", "float8_e5m2": "fp8e5",
}  # fmt: skip


@dataclass(frozen=True)
class Launch:
    """One kernel as Triton specialises it for the arguments of a call.

    ``signature`` gives each argument's type, ``constants`` the values that are compiled in, ``hints`` what else the
    compiler may rely on: "D", divisible by 16, and for a tensor below 2 GiB "S", which AMD's compiler uses.
    """

    kernel: JITFunction
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    hints: Mapping[str, str]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, kernel: JITFunction, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> Launch:
        """The launch with these arguments by name, specialised by the rules of Triton's own launcher."""
        constants, hints = {}, {}
        for param in kernel.params:
            value = arguments[param.name]
            whole = isinstance(value, int) and not isinstance(value, bool)
            if param.is_constexpr or value is None or (whole and value == 1 and not param.do_not_specialize):
                constants[param.name] = value
            elif not param.do_not_specialize:
                hints[param.name] = _hint(value)
        signature = {name: "constexpr" if name in constants else _type(arguments[name]) for name in kernel.arg_names}
        return cls(kernel, signature, constants, hints, options)

    @property
    def name(self) -> str:
        """Which specialisation of which kernel this is, whatever the kernel's code."""
        return json.dumps([self.kernel.__name__, self.signature, self.constants, self.hints, self.options], default=str)

    def digest(self, target: GPUTarget) -> str:
        """A hash of the kernel's source, that of all it calls, and all other compiler inputs."""
        source = self._source(target)
        return hashlib.sha256(f"{triton.__version__} {target} {source.hash()} {self.options}".encode()).hexdigest()

    def compile(self, target: GPUTarget) -> CompiledKernel:
        """Compile for ``target``, which need not be present. Raises the compiler's exceptions."""
        return triton.compile(self._source(target), target=target, options=dict(self.options))

    def _source(self, target: GPUTarget) -> ASTSource:
        backend, names = make_backend(target), self.kernel.arg_names
        attributes = {(names.index(name),): backend.parse_attr(hint) for name, hint in self.hints.items()}
        return ASTSource(self.kernel, dict(self.signature), dict(self.constants), attributes)


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """A context in which launches are listed instead of run, and wrappers treat CPU tensors as a GPU's.
    TRITON_INTERPRET must not be set: interpreted launches cannot be recorded.
    """
    launches: list[Launch] = []

    def record(kernel: JITFunction, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        arguments = {p.name: p.default for p in kernel.params if p.has_default}
        arguments |= dict(zip(kernel.arg_names, args, strict=False)) | options
        rest = {name: value for name, value in options.items() if name not in kernel.arg_names}
        launches.append(Launch.of(kernel, arguments, rest))

    # By name: a mutant's overlay may have been put in place of the modules that were there when this was imported.
    interpreter: Any = importlib.import_module("braidcheck.kernels.common.interpreter")
    before = JITFunction.run, interpreter.DEVICE_TYPE
    JITFunction.run, interpreter.DEVICE_TYPE = record, "cpu"
    try:
        with warnings.catch_warnings():
            # The data pointer is only used to check alignment; for a tensor without memory it is 0.
            warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
            yield launches
    finally:
        JITFunction.run, interpreter.DEVICE_TYPE = before


@contextmanager
def as_if_on(capability: tuple[int, int]) -> Iterator[None]:
    """A context in which wrappers choose launches as on an NVIDIA GPU of this compute capability; (0, 0) for any other
    GPU."""
    pinned: Any = importlib.import_module("braidcheck.kernels.common.configs")
    own, pinned.capability = pinned.capability, lambda: capability
    try:
        yield
    finally:
        pinned.capability = own


def of_case(op: Op, case: Case, call: Callable[..., Any] | None = None) -> list[Launch]:
    """What ``call`` (the op's own wrapper by default) launches on ``case``, in order; tensors take no memory."""
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), recorded() as launches:
            (call or op.call)(**op.inputs(case, "cpu"))
    except DataDependentOutputException:  # sizes depend on values, so these must exist
        with recorded() as launches:
            (call or op.call)(**op.inputs(case, "cpu"))
    return launches


def _type(value: Any) -> str:
    if isinstance(value, TensorDescriptor):
        return f"tensordesc<{_type(value.base).removeprefix('*')}{list(value.block_shape)}>"
    if hasattr(value, "dtype"):
        return "*" + TYPES[str(value.dtype).removeprefix("torch.")]
    if isinstance(value, bool):
        return "i1"
    if isinstance(value, float):
        return "fp32"
    return "i64" if not -(1 << 31) <= value < 1 << 31 else "i32"


def _hint(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        # The allocator's blocks are aligned, so a tensor's alignment is that of its offset.
        aligned = value.storage_offset() * value.itemsize % 16 == 0
        return "D" * aligned + "S" * (value.untyped_storage().nbytes() < 1 << 31)
    return "D" if isinstance(value, int) and not isinstance(value, bool) and value % 16 == 0 else ""
