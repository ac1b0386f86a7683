"""A worker with a clock that is written in its tree: ``speed.json`` says, by op, the seconds or the mishap."""

import json
import os
import random
import sys
import time
from pathlib import Path

from braidcheck.ci.paired.worker import serve


class FakeBench:
    def __init__(self, tree):
        self.tree = Path(tree)
        self.plan = json.loads((self.tree / "speed.json").read_text())
        self.now = None

    def prepare(self, series):
        if series["op"] not in self.plan:
            raise LookupError(f"there is no op {series['op']}")
        self.mishap(series["op"], "prepare")
        return {"inputs": {"x": self.plan[series["op"]].get("inputs", "same")}}

    def place(self, series):
        self.now = self.plan[series["op"]]
        with (self.tree / "restarts").open("a+") as file:
            restart = file.tell()
            file.write(".")
        self.random = random.Random(f"{self.tree.name} {restart}")  # a memory layout of its own
        self.layout = self.random.gauss(0, self.now.get("layout", 0.001))
        self.mishap(series["op"], "place")
        print("a library that prints")
        if "counts" not in self.now:
            return {}
        return {"counts": {"launches": self.now["counts"] + (restart == 0)}}  # a library's own, in one process

    def turn(self, _):
        self.mishap(self.now["op"], "turn")
        return {"seconds": self.now["seconds"] * (1 + self.layout + self.random.gauss(0, 0.002))}

    def mishap(self, op, when):
        what = self.plan[op].get(when)
        if what == "raise":
            raise ValueError("no such luck\nand more")
        if what == "die":
            os.abort()
        if what == "hang":
            time.sleep(600)


if __name__ == "__main__":
    serve(FakeBench(sys.argv[1]))
