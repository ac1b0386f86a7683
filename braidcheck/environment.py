"""The machine: versions, commit, GPUs, and which lanes can run (standard library only)."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TypedDict, cast

import braidcheck


class Gpu(TypedDict):
    """One GPU: ``id`` is for CUDA_VISIBLE_DEVICES, ``uuid`` the hardware's own."""

    id: str
    name: str
    capability: str
    memory_gib: float
    uuid: str


class Fingerprint(TypedDict):
    """A Run's machine and software."""

    braidcheck: str
    commit: str
    started: str
    platform: str
    processor: str
    cpus: int
    python: str
    libraries: dict[str, str]
    gpus: list[Mapping[str, Any]]
    driver: str


LIBRARIES = ("torch", "triton", "transformers", "datasets", "numpy", "safetensors", "pytest", "pytest-xdist")
PACKAGE = Path(braidcheck.__file__).parent

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# In its own process: this one must not import torch, and a broken driver may crash the process.
_PROBE = """
import json, torch
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
found = [torch.cuda.get_device_properties(i) for i in range(count)]
print(json.dumps([
    {"name": p.name, "capability": f"{p.major}.{p.minor}", "memory_gib": round(p.total_memory / 2**30, 1),
     "uuid": str(getattr(p, "uuid", ""))}
    for p in found
]))
"""


def version(library: str) -> str:
    """The installed version of ``library``, or an empty string."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def extras() -> dict[str, list[str]]:
    """The libraries of each extra of this package; empty if it is not installed."""
    try:
        lines = metadata.requires("braidcheck") or []
    except metadata.PackageNotFoundError:
        return {}
    extras_by_name: dict[str, list[str]] = {}
    for line in lines:
        if named := re.match(r"""([\w.-]+).*\bextra == ["']([\w-]+)["']""", line):
            extras_by_name.setdefault(named[2], []).append(named[1])
    return extras_by_name


def cpus() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def for_worker(tree: Path) -> dict[str, str]:
    """The environment of a process that imports the package in ``tree``, with one thread and no lane chosen yet."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    path = os.pathsep.join([str(tree), *filter(None, [os.environ.get("PYTHONPATH")])])
    return kept | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": path}


def with_package() -> dict[str, str]:
    """The environment of a process that finds this package."""
    path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path}


def available_bytes() -> int:
    """Memory available on this machine in bytes; 0 if unknown."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return 0


def why_no_triton() -> str:
    """Why Triton cannot be imported here; empty if it can."""
    if importlib.util.find_spec("triton") is not None:
        return ""
    if sys.platform != "linux":
        return f"Triton is not available on this platform ({sys.platform}); it exists for Linux only"
    return "Triton is not available here; install it with: pip install triton"


def why_no_interpreter() -> str:
    """Why the interpret lane cannot run here; empty if it can."""
    if reason := why_no_triton():
        return reason
    triton, numpy = version("triton"), version("numpy")
    if _metrics(triton) < (3, 7) and _metrics(numpy) >= (2, 4):
        return f"the interpreter of Triton {triton} needs numpy below 2.4, here is {numpy}"
    return ""


def _metrics(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


@functools.cache
def gpus() -> tuple[Gpu, ...]:
    """The GPUs that torch can use: name, compute capability, memory in GiB, the id for CUDA_VISIBLE_DEVICES, and
    the hardware's own id."""
    if not (shutil.which("nvidia-smi") or Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()):
        return ()
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=120, check=False)
    if probe.returncode:
        return ()
    devices = json.loads(probe.stdout.splitlines()[-1])
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    ids = visible.split(",") if visible else [str(index) for index in range(len(devices))]
    return tuple(cast(Gpu, {"id": name, **gpu}) for name, gpu in zip(ids, devices, strict=False))


def why_no_gpu() -> str:
    """Why the gpu lane cannot run here; empty if it can."""
    if gpus():
        return why_no_triton()
    return f"no GPU that torch {version('torch') or '(not installed)'} can use"


def driver() -> str:
    """The NVIDIA driver's version, or an empty string."""
    if not shutil.which("nvidia-smi"):
        return ""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
    return answer.stdout.strip().splitlines()[0] if answer.returncode == 0 and answer.stdout.strip() else ""


def git(folder: Path, *words: str) -> str | None:
    """The output of git in ``folder``; None if it failed or is not installed."""
    if not shutil.which("git"):
        return None
    completed = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    return completed.stdout if completed.returncode == 0 else None


def commit() -> str:
    """The commit of braidcheck's source tree, with ``+`` if there are uncommitted changes."""
    head = git(PACKAGE.parent, "rev-parse", "HEAD") if (PACKAGE.parent / ".git").exists() else None
    return head.strip() + ("+" if git(PACKAGE.parent, "status", "--porcelain") else "") if head else ""


def fingerprint() -> Fingerprint:
    """The machine and software of a run; the time is UTC."""
    return {
        "braidcheck": braidcheck.__version__,
        "commit": commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpus": cpus(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "gpus": [{key: value for key, value in gpu.items() if key not in ("id", "uuid")} for gpu in gpus()],
        "driver": driver(),
    }
