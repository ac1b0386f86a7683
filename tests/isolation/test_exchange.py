"""The asking side: a process that says that it can answer no more is replaced."""

import os

from braidcheck.isolation.exchange import Exchange


class Process:
    """A fake child whose first answer is its last."""

    def __init__(self, made):
        made.append(self)
        self.closed, self.last = False, len(made) == 1

    def ask(self, message, fds, timeout):
        assert not self.closed
        return {"raised": {"text": "illegal memory access"}, "last": True} if self.last else {"outputs": []}

    def close(self):
        self.closed = True


def test_what_broke_its_gpu_context_is_replaced():
    made, file = [], os.memfd_create("results")
    exchange = Exchange(lambda: Process(made), file)
    exchange.loaded = "f"
    assert exchange.call({}, 1)["raised"]["text"] == "illegal memory access"
    assert made[0].closed
    assert exchange.loaded == ""
    assert exchange.call({}, 1)["outputs"] == []
    assert [process.closed for process in made] == [True, False]
    os.close(file)
