"""An interrupt ends the threads of a mutation run, and their workers."""

import os
import queue
import signal
import threading

import pytest

from braidcheck.mutants import threads


def test_an_interrupt_empties_the_queue_and_ends_the_workers(monkeypatch):
    todo, ended, found = queue.SimpleQueue(), threading.Event(), []
    for number in range(1, 4):
        todo.put(number)

    def work():
        found.append(threads.next_of(todo))
        os.kill(os.getpid(), signal.SIGINT)
        ended.wait()  # for a worker's answer, until it is ended
        found.append(threads.next_of(todo))

    monkeypatch.setattr(threads, "end_group", ended.set)
    with pytest.raises(KeyboardInterrupt):
        threads.side_by_side(1, work, todo)
    assert found == [1, None]


def test_without_an_interrupt_all_is_done():
    todo, found = queue.SimpleQueue(), []
    for number in range(1, 4):
        todo.put(number)

    def work():
        while number := threads.next_of(todo):
            found.append(number)

    threads.side_by_side(2, work, todo)
    assert sorted(found) == [1, 2, 3]
