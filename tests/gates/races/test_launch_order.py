"""Races between launches: with PDL, what is done before the wait is ordered after nothing that may still run."""

import numpy as np
import pytest
import torch

from braidcheck.gates.races.accesses import ATOMIC, LOAD, STORE, Access, Launch, Program
from braidcheck.gates.races.launch_order import counter_races, launch_races, upstream_of

WEIGHT, HIDDEN, OUT = 4096, 8192, 12288


def launch(name, *steps, pdl=True):
    """A launch of one program: "trigger", "wait", or a kind of access and its address."""
    program = Program((0, 0, 0))
    for step in steps:
        position = program.next()
        if step == "trigger":
            program.trigger = position
        elif step == "wait":
            program.wait = position
        else:
            kind, address = step
            pointers = np.array([address], dtype=np.uint64)
            program.accesses.append(Access(0, position, kind, pointers, np.array([True]), 4, np.zeros(1, np.int32)))
    made = Launch(name, [("hidden", HIDDEN, HIDDEN + 64, 4)], pdl)
    made.programs.append(program)
    return made


def writer(address, **options):
    return launch("writer", "trigger", "wait", (STORE, address), **options)


def reader(address):
    return launch("reader", (LOAD, address), "trigger", "wait")


def test_what_no_upstream_launch_writes_is_read_early():
    assert not list(launch_races([writer(HIDDEN), reader(WEIGHT)]))


def test_after_the_wait_all_is_ordered():
    assert not list(launch_races([writer(HIDDEN), launch("reader", "trigger", "wait", (LOAD, HIDDEN))]))


@pytest.mark.parametrize("between", [0, 1, 2])
def test_a_launch_that_let_the_next_begin_may_still_run_however_far_back(between):
    others = [writer(OUT)] * between
    (said,) = launch_races([writer(HIDDEN), *others, reader(HIDDEN)])
    assert said == (
        "reader: program (0, 0, 0) loads hidden[0] before grid_dependency_wait, while writer may still write it"
    )


def test_a_launch_without_pdl_waits_for_all_and_ends_the_chain():
    assert not list(launch_races([writer(HIDDEN), writer(OUT, pdl=False), reader(HIDDEN)]))
    assert list(launch_races([writer(HIDDEN, pdl=False), reader(HIDDEN)]))  # its end makes nothing visible


def test_what_is_triggered_after_the_wait_follows_what_was_waited_for():
    late = launch("late", "wait", "trigger")
    assert not list(launch_races([writer(HIDDEN), late, reader(HIDDEN)]))


def test_operations_of_torch_are_launches():
    operation = Launch("aten.add", written=[(HIDDEN, HIDDEN + 64)])
    assert list(launch_races([operation, reader(HIDDEN)]))
    assert not list(launch_races([operation, Launch("aten.mul", written=[(OUT, OUT + 4)]), reader(HIDDEN)]))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (launch("idle", "trigger"), "1 of 1 programs, (0, 0, 0) first, never wait"),
        (launch("early", (STORE, HIDDEN), "trigger", "wait"), "writes hidden[0] before grid_dependency_wait"),
    ],
)
def test_a_launch_with_pdl_waits_before_it_writes(made, said):
    assert said in next(launch_races([writer(OUT), made]))
    made.pdl = False
    assert not list(launch_races([writer(OUT), made]))


def test_a_launch_that_never_lets_the_next_begin_is_named():
    (said,) = launch_races([launch("silent", "wait"), reader(WEIGHT)])
    assert said == "silent: 1 of 1 programs never let the next launch begin (launch_dependents): reader"


def test_upstream_writes_all_arguments_but_the_stable_ones():
    inputs = {"x": torch.zeros(4), "weight": torch.zeros(4), "k_cache": torch.zeros(4), "eps": 1e-6}
    assert upstream_of(inputs).written == [(inputs["x"].data_ptr(), inputs["x"].data_ptr() + 16)]


def test_a_counter_is_left_as_it_was_found():
    def counting(found):
        made = launch("count")
        pointers, mask = np.array([HIDDEN], dtype=np.uint64), np.array([True])
        made.programs[0].accesses.append(Access(0, 0, ATOMIC, pointers, mask, 4, np.array([found], np.int32)))
        return made

    assert not list(counter_races([counting(0), counting(0)]))
    assert list(counter_races([counting(0), counting(3)])) == ["count: hidden[0] is 3, was 0 before count: not reset"]
    assert not list(counter_races([counting(0), Launch("zero", written=[(HIDDEN, HIDDEN + 4)]), counting(3)]))
