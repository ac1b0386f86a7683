"""Races within a launch: what an atomic with a barrier orders is none, what it does not order is one."""

from dataclasses import replace

import numpy as np
import pytest

from braidcheck.gates.races.accesses import ATOMIC, LOAD, STORE, Access, Launch, Program
from braidcheck.gates.races.ordering import races

DATA, COUNTER = 4096, 8192  # addresses


class Made:
    """A launch, made program by program."""

    def __init__(self):
        self.launch = Launch("kernel", [("data", DATA, DATA + 64, 4), ("counter", COUNTER, COUNTER + 4, 4)])

    def program(self):
        self.launch.programs.append(Program((len(self.launch.programs), 0, 0)))
        return self

    def access(self, kind, first, count=1, values=0, sem="", scope="GPU"):
        program, pointers = self.launch.programs[-1], first + 4 * np.arange(count, dtype=np.uint64)
        data = np.broadcast_to(np.int32(values), pointers.shape)
        mask, number = np.ones(count, dtype=bool), len(self.launch.programs) - 1
        program.accesses.append(Access(number, program.next(), kind, pointers, mask, 4, data, sem, scope))
        return self

    def store(self, first=DATA, count=4, values=0):
        return self.access(STORE, first, count, values)

    def load(self, first=DATA, count=4):
        return self.access(LOAD, first, count)

    def count(self, sem="ACQUIRE_RELEASE", scope="GPU", first=COUNTER, count=1):
        return self.access(ATOMIC, first, count, sem=sem, scope=scope)

    def barrier(self):
        program = self.launch.programs[-1]
        program.barriers.append(program.next())
        return self

    def found(self):
        return [str(race) for race in races(self.launch)]


def test_a_barrier_and_a_count_order_two_programs():
    assert not Made().program().store().barrier().count().program().count().load().found()


def test_a_count_passes_on_what_it_has_acquired():
    made = Made().program().store().barrier().count().program().barrier().count()
    assert not made.program().count().load().found()


@pytest.mark.parametrize(
    ("made", "missing"),
    [
        (Made().program().store().program().load(), "no atomic follows the store"),
        (Made().program().store().count().program().count().load(), "no barrier between the store and the atomic"),
        (Made().program().store().count().barrier().program().count().load(), "no barrier between the store"),
        (Made().program().barrier().store().count().program().count().load(), "no barrier between the store"),
        (Made().program().store().barrier().count().program().load().count(), "no atomic precedes the load"),
        (Made().program().store().barrier().count("RELAXED").program().count().load(), "does not release (relaxed)"),
        (Made().program().store().barrier().count("ACQUIRE").program().count().load(), "does not release (acquire)"),
        (Made().program().store().barrier().count().program().count("RELEASE").load(), "does not acquire (release)"),
        (Made().program().store().barrier().count().program().count(scope="CTA").load(), "scope is one program"),
        (
            Made().program().store().barrier().count().program().count(first=COUNTER + 64).load(),
            "are on other addresses",
        ),
        (
            Made().program().store().barrier().count(count=2).program().count(count=2).load(),
            "no barrier between the atomic and the load",
        ),
        (Made().program().load().barrier().count().program().store().count(), "no atomic precedes the store"),
    ],
)
def test_what_is_missing_is_named(made, missing):
    assert missing in made.found()[0]


def test_a_race_names_programs_and_elements():
    (said,) = Made().program().store(DATA, 4).program().load(DATA + 12, 1).found()
    assert said.startswith("kernel: program (0, 0, 0) stores data[3] and program (1, 0, 0) loads it: ")


def test_a_plain_store_to_the_counter_ends_what_was_released():
    made = Made().program().store().barrier().count().program().count().store(COUNTER, 1)
    assert any("data[0]" in said for said in made.program().count().load().found())


def test_stores_of_the_same_bits_are_no_race_and_of_others_are():
    assert not Made().program().store(values=1).program().store(values=1).found()
    assert "no atomic" in Made().program().store(values=1).program().store(values=2).found()[0]


def test_parts_of_an_element_count():
    made = Made().program().store(DATA, 1)
    program, pointers = made.program().launch.programs[-1], np.array([DATA + 2], dtype=np.uint64)
    program.accesses.append(Access(1, program.next(), LOAD, pointers, np.array([True]), 2))
    assert len(made.found()) == 1


def test_what_a_mask_leaves_out_is_no_access():
    made = Made().program().store(DATA, 4).program()
    pointers = DATA + 4 * np.arange(4, dtype=np.uint64)
    made.launch.programs[-1].accesses.append(Access(1, 0, LOAD, pointers, np.zeros(4, dtype=bool), 4))
    assert not made.found()


def test_a_program_reads_back_what_it_stored_behind_a_barrier_only():
    assert not Made().program().store().barrier().load().found()
    assert "no barrier between the store and the load" in Made().program().store().load().found()[0]


def test_two_threads_of_one_store_must_agree():
    made = Made().program()
    pointers, mask = np.array([DATA, DATA], dtype=np.uint64), np.ones(2, dtype=bool)
    made.launch.programs[-1].accesses.append(Access(0, 0, STORE, pointers, mask, 4, np.array([1, 2], np.int32)))
    assert "stores data[0] twice in one store" in made.found()[0]


def test_float_additions_of_two_programs_have_no_order():
    made = Made().program().count().program().count()
    assert not made.found()
    for program in made.launch.programs:
        program.accesses = [replace(access, is_float_add=True) for access in program.accesses]
    assert "the order of float additions" in made.found()[0]
