"""Measures for the static gate in a separate process, since nothing compiles under the interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from braidcheck import environment
from braidcheck.errors import NotAvailable
from braidcheck.static.evidence import Evidence


def measure_static(
    ops: Sequence[str] = (),
    progress: Callable[[str], None] = lambda text: None,
    tree: Path = environment.PACKAGE.parent,
    children: int = 0,
) -> Evidence:
    """The resources of every configuration of ``ops`` (default: all) on every target, as plain data. Compiles the
    package in ``tree`` with ``children`` processes (default: one per CPU) and caches results in the user's cache.
    Raises NotAvailable if the compiling process breaks.
    """
    alone = environment.for_worker(tree) | {"TRITON_DISABLE_LINE_INFO": "1"}
    command = [sys.executable, "-P", "-m", "braidcheck.static.compiler", str(children or environment.cpus()), *ops]
    last: Any = None
    with subprocess.Popen(
        command, env=alone, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout  # a pipe
        assert child.stderr
        for line in child.stdout:
            last = json.loads(line)
            if isinstance(last, list):
                progress(f"compiled {last[0]} of {last[1]}")
        violation = child.stderr.read().strip().splitlines()
    if child.returncode or not isinstance(last, dict):
        raise NotAvailable(f"compiling ahead of time broke: {(violation or ['no output'])[-1]}")
    return cast(Evidence, last)
