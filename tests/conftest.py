"""What all tests share: the lane of this process, and cores that are not oversubscribed."""

from __future__ import annotations

import os

from braidcheck.environment import cpus


def pytest_configure(config):
    # Both are read when torch and Triton are imported, which is after this.
    if config.option.markexpr != "gpu":
        os.environ["TRITON_INTERPRET"] = "1"
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cpus() // workers)))
