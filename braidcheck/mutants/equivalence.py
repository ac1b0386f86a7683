"""Finds survivors that are no mutants at all: their kernels compile to the very same PTX."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from braidcheck import environment
from braidcheck.mutants.mutant import Mutant, overlay


class Compiler:
    """A process that compiles ops ahead of time, for no GPU that is here; used as a context manager."""

    def __init__(self, source: Path) -> None:
        """``source`` holds the unmutated package."""
        self.source = source
        cache = {"TRITON_CACHE_DIR": str(source.parent / "compiled")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "braidcheck.mutants.compiled"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=source, env=environment.for_worker(source) | cache,
        )  # fmt: skip
        self._plain = functools.cache(lambda op: self._digests(source, op))

    def __enter__(self) -> Compiler:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin  # a pipe
        self.process.stdin.close()
        self.process.wait()

    def same(self, mutant: Mutant) -> bool:
        """Whether every launch of every op that ``mutant`` can reach compiles to what it did without it."""
        folder = Path(tempfile.mkdtemp(dir=self.source.parent))
        try:
            place = overlay(self.source, mutant, folder)
            return bool(mutant.ops) and all(self._digests(place, op) == self._plain(op) != {} for op in mutant.ops)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _digests(self, place: Path, op: str) -> dict[str, str]:
        assert self.process.stdin  # a pipe
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"overlay": str(place), "ops": [op]}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        return json.loads(answer).get("digests", {}) if answer else {}
