"""What an op's kernels compile to for a GPU that is not here: a mutant of the same PTX is no mutant.

Run as ``python -m braidcheck.mutants.compiled``: overlays and ops in, digests out, as lines of JSON. A process of its
own, for nothing can be compiled where kernels are interpreted.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from triton.backends.compiler import GPUTarget

from braidcheck import kernels
from braidcheck.gates.under_test import module
from braidcheck.mutants.evidence import Result
from braidcheck.mutants.sandbox import Say, enter, in_child
from braidcheck.static.launches import Launch, of_case

TARGET = GPUTarget("cuda", 90, 32)
LIMIT = 600.0  # seconds
TRUE_OPS = kernels.find()


def digests(ops: Sequence[str]) -> dict[str, str]:
    """For each different launch that the ops' cases make: the SHA-256 of its PTX, or how compiling failed."""
    found: dict[str, str] = {}
    for name in ops:
        call = getattr(module(f"kernels.{name}"), name)
        for case in TRUE_OPS[name].cases:
            if not case.large:
                for launch in of_case(TRUE_OPS[name], case, call):
                    found[launch.name] = found.get(launch.name) or _ptx(launch)
    return found


def _ptx(launch: Launch) -> str:
    try:
        return hashlib.sha256(launch.compile(TARGET).asm["ptx"].encode()).hexdigest()
    except Exception as error:
        return f"{type(error).__name__}"


def main() -> None:
    """Answer tasks from standard input until it ends."""
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"  # where a line stands is no difference
    for line in sys.stdin:
        task = json.loads(line)

        def work(_say: Say, task: Mapping[str, Any] = task) -> Result:
            enter(Path(task["overlay"]))
            return {"outcome": "compiled", "digests": digests(task["ops"])}

        print(json.dumps(in_child(work, LIMIT)), flush=True)


if __name__ == "__main__":
    main()
