"""How a run's items are handed out to workers, called with stand-ins of them."""

from types import SimpleNamespace

import pytest

from braidcheck.schedule.workers import Scheduler

ITEMS = list("abcdef")


class Worker:
    """A worker that notes what it is sent; once it is ``dead``, nothing can be sent."""

    def __init__(self, name):
        self.gateway = SimpleNamespace(id=name, spec=name)
        self.shutting_down = self.dead = False
        self.items = []

    def send_runtest_some(self, indices):
        if self.dead:
            raise OSError("cannot send (already closed?)")
        self.items += [ITEMS[index] for index in indices]

    def shutdown(self):
        self.shutting_down = True


@pytest.fixture
def scheduler(tmp_path):
    option = SimpleNamespace(loadscopereorder=False)
    config = SimpleNamespace(getvalue=lambda name: ["popen", "popen"], option=option)
    return Scheduler(config, None, str, tmp_path / "given-back.txt")


def added(scheduler, name):
    worker = Worker(name)
    scheduler.add_node(worker)
    scheduler.add_node_collection(worker, ITEMS)
    return worker


def test_a_worker_whose_death_is_not_yet_known_takes_no_work(scheduler):
    workers = [added(scheduler, name) for name in ("first", "second")]
    scheduler.schedule()
    assert [worker.items for worker in workers] == [["a", "c"], ["b", "d"]]
    for worker in workers:
        worker.dead = True
    assert scheduler.remove_node(workers[0]) == "a"
    assert scheduler.remove_node(workers[1]) == "b"
    replacement = added(scheduler, "third")
    scheduler.schedule()
    for done in range(4):
        scheduler.mark_test_complete(replacement, ITEMS.index(replacement.items[done]))
    assert not scheduler.has_pending
    assert sorted(replacement.items) == ["c", "d", "e", "f"]
