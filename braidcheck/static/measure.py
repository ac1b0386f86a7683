"""What the static gate sees: asked of a process of its own, for nothing compiles where kernels are interpreted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from braidcheck import environment
from braidcheck.errors import NotAvailable


def measure_static(ops: Sequence[str] = (), progress: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """What every configuration of ``ops`` (all by default) takes on every target, as JSON-able data.

    Keys: triton, its version; rows, one a configuration and target: op, configuration, kernel, target, the bytes and
    flops that the op's cost says, and what ``resources.read`` gives, or the compiler's ``error``. What was compiled
    once is kept in the user's cache. Raises NotAvailable where the process that compiles breaks.
    """
    alone = environment.for_worker(environment.PACKAGE.parent) | {"TRITON_DISABLE_LINE_INFO": "1"}
    command = [sys.executable, "-m", "braidcheck.static.compiler", str(environment.cpus()), *ops]
    last: Any = None
    with subprocess.Popen(
        command, env=alone, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        for line in child.stdout:
            last = json.loads(line)
            if isinstance(last, list):
                progress(f"compiled {last[0]} of {last[1]}")
        violation = child.stderr.read().strip().splitlines()
    if child.returncode or not isinstance(last, dict):
        raise NotAvailable(f"compiling ahead of time broke: {(violation or ['no output'])[-1]}")
    return last
