"""Tasks of one command, distributed over processes that share the cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

from braidcheck import environment

Task = TypeVar("Task")
Result = TypeVar("Result")


def together(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """``work`` of each of ``tasks`` in ``workers`` fresh processes, as they end. ``work`` is a module's."""
    os.environ["OMP_NUM_THREADS"] = str(max(1, environment.cpus() // workers))
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's, in the interpreter, whose blocks are too small to share out
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(work, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt or an error must not wait for what is left
