"""Features that Triton's interpreter lacks: typed arguments, methods of loop variables, autotuning."""

from __future__ import annotations

import ast
import inspect
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import autotuner, interpreter, jit
from triton.runtime.interpreter import GridExecutor, TensorHandle

from braidcheck.kernels.common.interpreter_bfloat16 import narrow

MESSAGES = "active drivers", "InterpreterBuilder", "interpreter mode"  # parts of them: no compiled kernel raises these
UNSUPPORTED = AttributeError, IndexError, KeyError, NotImplementedError, TypeError  # of the interpreter's own code


class LoopIndex(int):
    """The variable of a loop: a Python integer that also has a tensor's ``to`` and ``dtype``."""

    def to(self, dtype: tl.dtype, **options: Any) -> tl.tensor:
        """A tensor of ``dtype``."""
        return interpreter.interpreter_semantic.to_tensor(int(self)).to(dtype, **options)

    @property
    def dtype(self) -> tl.dtype:
        """The type that the number has on a GPU."""
        return tl.int32 if -(2**31) <= self < 2**31 else tl.int64


def _closed(name: str) -> Any:
    plain = getattr(int, name)

    def operator(self: LoopIndex, other: Any) -> Any:
        result = plain(self, other)
        return LoopIndex(result) if type(result) is int else result

    return operator


for _name in ("add", "sub", "mul", "floordiv", "mod"):
    for _side in ("", "r"):
        setattr(LoopIndex, f"__{_side}{_name}__", _closed(f"__{_side}{_name}__"))


def patch() -> None:
    """Patch the interpreter of this process; call it once."""
    interpreter.loop_indices = loop_indices
    interpreter.ASTTransformer.visit_For = _visit_for
    GridExecutor.__call__ = _with_types(GridExecutor.__call__)
    autotuner.Autotuner._bench = lambda self, *args, config, **meta: [0.0]  # all alike: the first one is taken


def loop_indices(indices: Iterable[Any]) -> Iterator[Any]:
    """The same indices, integers among them with the methods of tensors."""
    return (LoopIndex(index) if type(index) is int else index for index in indices)


def _visit_for(self: Any, node: ast.For) -> ast.AST:
    """A loop over ``range``, whose variable is a tensor on a GPU; that of ``static_range`` is a constant there too."""
    self.generic_visit(node)
    if isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func).split(".")[-1] == "range":
        node.iter = ast.Call(func=ast.Name(id="loop_indices", ctx=ast.Load()), args=[node.iter], keywords=[])
    return node


def _with_types(plain: Any) -> Any:
    def launch(self: GridExecutor, *args: Any, **kwargs: Any) -> None:
        """Numbers as tensors of the types that the kernel declares, else float32; the grid from the numbers
        themselves."""
        names = inspect.getfullargspec(self.fn).args
        arguments = inspect.getcallargs(self.fn, *args, **{name: kwargs[name] for name in kwargs if name in names})
        if callable(self.grid):
            self.grid = tuple(self.grid(arguments))
        declared = {name: jit._normalize_ty(type) for name, type in self.fn.__annotations__.items()}
        plain(self, **{name: _typed(value, declared.get(name, "")) for name, value in arguments.items()})

    return launch


def _typed(value: Any, declared: str) -> Any:
    if declared == "constexpr" or not isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bool):
        declared = "i1"
    elif isinstance(value, float) and not declared.startswith(("fp", "bf")):
        declared = "fp32"
    elif not declared.startswith(("i", "u", "fp", "bf")):
        return value  # Triton tells an integer's type by its size
    dtype = tl.str_to_ty(declared, None)
    if dtype == tl.bfloat16:
        return tl.tensor(narrow(np.array([value], dtype=np.float32)), dtype)
    return tl.tensor(TensorHandle(np.array([value]).astype(interpreter._get_np_dtype(dtype)), dtype), dtype)


def cannot_interpret(error: BaseException | None) -> str:
    """Why the interpreter, and not the kernel, is at fault for ``error``; empty if it is not.

    It is at fault where its own code fails, which no compiled kernel runs, or where Triton asks for a GPU's driver.
    """
    for cause in reversed([*_causes(error)]):
        text = _text(cause)
        frames = traceback.extract_tb(cause.__traceback__)
        file = frames[-1].filename if frames else ""
        in_interpreter = file.endswith(("runtime/interpreter.py", "interpreter_libdevice.py"))
        if (in_interpreter or "/triton/" in file) and any(part in text for part in MESSAGES):
            return text.splitlines()[0]
        if in_interpreter and isinstance(cause, UNSUPPORTED):
            return f"{type(cause).__name__}: {text}".splitlines()[0]
    return ""


def _text(error: BaseException) -> str:
    try:
        return str(error).strip()
    except BaseException:  # a user's class of exceptions may raise anything in __str__
        return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
