"""What an op's kernels compile to for a GPU that is not here: a mutant of the same PTX is no mutant.

Run as ``python -m braidcheck.mutants.compiled``: overlays and ops in, digests out, as lines of JSON. A process of its
own, for nothing can be compiled where kernels are interpreted.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from braidcheck import kernels
from braidcheck.evidence.op import copies, run
from braidcheck.evidence.probes import module
from braidcheck.mutants.forks import enter, in_child

TARGET = GPUTarget("cuda", 90, 32)
LIMIT = 600.0  # seconds
TYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "int64": "i64", "int32": "i32"}
TRUE_OPS = kernels.find()


def digests(ops: Sequence[str]) -> dict[str, str]:
    """For each different launch that the ops' cases make: the SHA-256 of its PTX, or how compiling failed."""
    found: dict[str, str] = {}
    JITFunction.run = lambda kernel, *args, grid, warmup, **options: _compile(found, kernel, args, options)
    for name in ops:
        mutated = module(f"kernels.{name}")
        mutated.require_same_device = lambda **tensors: None  # nothing runs: tensors on the CPU stand for a GPU's
        for case in TRUE_OPS[name].cases:
            if not case.large:
                run(TRUE_OPS[name], mutated.OP.call, copies(TRUE_OPS[name].inputs(case, "cpu")))
    return found


def _compile(found: dict[str, str], kernel: JITFunction, args: Sequence[Any], options: dict[str, Any]) -> None:
    given = dict(zip(kernel.arg_names, args, strict=False)) | options
    fixed = {p.name: given[p.name] for p in kernel.params if p.is_constexpr or given[p.name] is None}
    signature = {name: "constexpr" if name in fixed else _type(given[name]) for name in kernel.arg_names}
    launch = json.dumps([kernel.__name__, signature, fixed], default=str)
    if launch in found:
        return
    try:
        text = triton.compile(ASTSource(kernel, signature, fixed), target=TARGET).asm["ptx"]
        found[launch] = hashlib.sha256(text.encode()).hexdigest()
    except Exception as error:
        found[launch] = f"{type(error).__name__}"


def _type(value: Any) -> str:
    if hasattr(value, "dtype"):
        return "*" + TYPES[str(value.dtype).removeprefix("torch.")]
    if isinstance(value, float):
        return "fp32"
    return "i64" if abs(value) >= 1 << 31 else "i32"


def main() -> None:
    """Answer tasks from standard input until it ends."""
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"  # where a line stands is no difference
    for line in sys.stdin:
        task = json.loads(line)

        def work(_say: Any, task: dict[str, Any] = task) -> dict[str, Any]:
            enter(Path(task["overlay"]))
            return {"outcome": "compiled", "digests": digests(task["ops"])}

        print(json.dumps(in_child(work, LIMIT)), flush=True)


if __name__ == "__main__":
    main()
