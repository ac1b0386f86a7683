"""The numeric tests on the code that other CPUs would run: ``nox -s tests_portable``.

Each library picks its code by the CPU, and a variable picks for it. Which results of a few products change in their
last bits shows whether it was heard: ATen's code has softmax, MKL's exp and products, oneDNN's products of bfloat16,
OpenBLAS's numpy's products. "none" is said of a setting that is what this CPU gets anyway, and of a library that this
torch or numpy does not use.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

# Settings need a CPU with what they name, except those of oneDNN, which are upper limits, and of MKL, which falls back.
LEVELS = ("DEFAULT", "AVX2", "AVX512")  # as torch names them
SETTINGS = (
    ("", "", "DEFAULT"),
    ("ATEN_CPU_CAPABILITY", "default", "DEFAULT"),
    ("ATEN_CPU_CAPABILITY", "avx2", "AVX2"),
    ("ATEN_CPU_CAPABILITY", "avx512", "AVX512"),
    ("ONEDNN_MAX_CPU_ISA", "SSE41", "DEFAULT"),
    ("ONEDNN_MAX_CPU_ISA", "AVX2", "DEFAULT"),
    ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE", "DEFAULT"),
    ("MKL_CBWR", "COMPATIBLE", "DEFAULT"),
    ("MKL_CBWR", "AVX2", "DEFAULT"),
    ("MKL_CBWR", "AVX512", "DEFAULT"),
    ("OPENBLAS_CORETYPE", "Nehalem", "DEFAULT"),
    ("OPENBLAS_CORETYPE", "Haswell", "AVX2"),
    ("OPENBLAS_CORETYPE", "SkylakeX", "AVX512"),
)
THREADS = (1, 2)
READ_BITS = """
import hashlib, json, numpy, torch
a, b = torch.from_numpy(numpy.random.default_rng(0).standard_normal((2, 2, 300, 301), numpy.float32))
bits = {
    "torch softmax": a.softmax(-1),
    "torch exp": a.exp(),
    "torch products": a @ b.mT,
    "torch bfloat16": (a.bfloat16() @ b.bfloat16().mT).float(),
    "numpy products": numpy.matmul(a.numpy()[0], b.numpy()[0].T),
}
bits = {name: hashlib.sha256(memoryview(numpy.ascontiguousarray(found))).hexdigest() for name, found in bits.items()}
print(json.dumps([torch.backends.cpu.get_cpu_capability(), bits]))
"""


def read_bits(env: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The level of this CPU's code that torch runs, and digests of some results."""
    return json.loads(subprocess.run([sys.executable, "-c", READ_BITS], env=env, stdout=-1, check=True).stdout)


def run_tests(env: dict[str, str]) -> tuple[int, int, float]:
    """How many numeric tests passed and failed, and the seconds; what failed is printed."""
    began = time.monotonic()
    words = [sys.executable, "-m", "pytest", "-q", "-m", "numeric and not gpu", "-n", "auto", "--tb", "short"]
    done = subprocess.run(words, env=env, stdout=-1, stderr=-2, text=True, check=False, cwd=Path(__file__).parents[1])
    seconds = time.monotonic() - began
    count = {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    failed = count.get("failed", 0) + count.get("error", 0)
    if done.returncode:
        print(done.stdout)
    return count.get("passed", 0), failed or int(done.returncode != 0), seconds


def main() -> int:
    """One row a setting and number of threads; 1 if a test failed in any."""
    table = Table("setting", "threads", "bits that change", "passed", "failed", "seconds")
    red = False
    for threads in THREADS:
        plain = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        level, usual = read_bits(plain)
        for name, value, needed in SETTINGS:
            setting = f"{name}={value}" if name else "nothing set"
            if LEVELS.index(needed) > LEVELS.index(level):
                table.add_row(setting, str(threads), f"not run: this CPU has no {needed}")
                continue
            env = plain | ({name: value} if name else {})
            changed = [kind for kind, digest in read_bits(env)[1].items() if digest != usual[kind]]
            passed, failed, seconds = run_tests(env)
            red |= failed > 0
            table.add_row(
                setting, str(threads), ", ".join(changed) or "none", str(passed), str(failed), f"{seconds:.0f}"
            )
            print(f"{setting}, {threads} threads: {passed} passed, {failed} failed, {seconds:.0f} s", flush=True)
    Console(width=140).print(table)
    return int(red)


if __name__ == "__main__":
    sys.exit(main())
