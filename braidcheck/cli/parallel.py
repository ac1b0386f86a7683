"""Distributes the tasks of one command over processes that share the cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context
from typing import TypeVar

from braidcheck import environment

Task = TypeVar("Task")
Result = TypeVar("Result")


def together(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Run ``work`` on each of ``tasks`` in ``workers`` fresh processes; yields results as they complete. ``work`` is a
    module-level function."""
    os.environ["OMP_NUM_THREADS"] = str(max(1, environment.cpus() // workers))
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's threads, in the interpreter, whose blocks are too small to split
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(work, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            for child in active_children():  # an interrupt or an error must not wait for the tasks that run
                child.kill()
            pool.shutdown(cancel_futures=True)
            raise
