"""A GPU's memory is divided among processes, and nothing stays reserved for one that died."""

import subprocess
import sys
import threading

import pytest

from braidcheck.gpu_memory import GpuMemory, is_out_of_memory

DIES = """
import os, sys
from pathlib import Path
from braidcheck.gpu_memory import GpuMemory
with GpuMemory(Path(sys.argv[1]), 4).reserve(1.0):
    os._exit(0)
"""


def free_slots(memory):
    return sum(memory._try(number) is not None for number in range(memory.slots))


@pytest.mark.parametrize(("fraction", "left"), [(0.0, 3), (0.25, 3), (0.26, 2), (1.0, 0), (7.0, 0)])
def test_work_takes_as_many_slots_as_it_needs(tmp_path, fraction, left):
    memory = GpuMemory(tmp_path, 4)
    with memory.reserve(fraction):
        assert free_slots(memory) == left
    assert free_slots(memory) == 4


def test_large_work_waits_until_it_is_alone_and_is_not_passed_over(tmp_path):
    memory, order = GpuMemory(tmp_path, 2), []

    def large():
        with memory.reserve(1.0):
            order.append("large")

    with memory.reserve():
        thread = threading.Thread(target=large)
        thread.start()
        assert order == []
    thread.join()
    assert order == ["large"]


@pytest.mark.usefixtures("fresh_python")
def test_a_process_that_dies_leaves_its_memory_to_others(tmp_path):
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=True)
    with GpuMemory(tmp_path, 4).reserve(1.0):
        pass


class OutOfMemoryError(RuntimeError):
    """What torch calls it; torch itself is not needed to tell."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OutOfMemoryError("Tried to allocate 2.00 GiB"), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("the cache is out of memory of its own"), False),
        (None, False),
    ],
)
def test_which_errors_say_that_memory_ran_out(error, expected):
    assert is_out_of_memory(error) == expected
    wrapped = ValueError("the kernel failed")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped) == expected
