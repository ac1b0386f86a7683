"""What all tests share: the lane of this process, and one thread each."""

from __future__ import annotations

import os


def pytest_configure(config):
    # Both are read when torch and Triton are imported, which is after this.
    if config.option.markexpr != "gpu":
        os.environ["TRITON_INTERPRET"] = "1"
    # The interpreter's blocks are small: a second thread of numpy's only waits for the first, up to 80 times as long.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
