"""The worker of a slow tree (``slower.py``): a series' ``turns`` are the injected spins of its kernels. Run as ``python
-m braidcheck.ci.paired.slow_worker``; its protocol is that of ``worker``.
"""

from __future__ import annotations

from braidcheck.ci.paired import slower
from braidcheck.ci.paired.worker import GpuBench, Message, Placed, serve


class SlowBench(GpuBench):
    """The kernels of a slow tree, on the GPU."""

    def place(self, series: Message) -> Placed:
        """As in ``GpuBench``, with the injected work in the captured launches."""
        slower.inject_slowdown(series["turns"], "cuda")
        return super().place(series)


if __name__ == "__main__":
    serve(SlowBench())
