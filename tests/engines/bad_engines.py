"""Engines that misbehave, of the standard library alone: what `test_process` starts."""

import contextlib
import os
import sys
import time


class Table:
    """The logits of each position name the next id."""

    def __init__(self, directory="", vocab=4):
        self.directory, self.vocab = directory, vocab

    def prefill(self, ids):
        return [[float(one == (id + 1) % self.vocab) for one in range(self.vocab)] for id in ids]

    def generate(self, ids, n):
        return [(ids[-1] + 1 + step) % self.vocab for step in range(n)]


def no_argument():
    return Table("none was given")


def raises(directory):
    raise OSError(f"no weights in {directory}\nand more")


def leaves(directory):
    sys.exit(3)


def hangs(directory):
    time.sleep(60)


class Dies(Table):
    def prefill(self, ids):
        print("out of luck", file=sys.stderr)
        os._exit(7)


class Hangs(Table):
    def prefill(self, ids):
        time.sleep(60)


class Floods(Table):
    def prefill(self, ids):
        for _ in range(200):
            os.write(1, b"x" * 65536)
            os.write(2, b"y" * 65536)
        return super().prefill(ids)


class Eats(Table):
    def prefill(self, ids):
        self.kept = bytearray(600 << 20)
        time.sleep(60)


class Raises(Table):
    def prefill(self, ids):
        raise RuntimeError("the cache is full\nand a long story")


class Forges(Table):
    """Writes to every pipe that it finds."""

    def prefill(self, ids):
        for number in range(3, 1000):
            with contextlib.suppress(OSError):
                os.write(number, b'{"bytes": "many"}\n')
        return super().prefill(ids)


class Nothing:
    def __init__(self, directory):
        pass


def other_vocabulary(directory):
    return Table(directory, vocab=5)
