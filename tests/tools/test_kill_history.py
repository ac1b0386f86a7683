"""Writers that are killed: what they finished is there; ``python -m tools.kill_history`` kills more of them."""

import os
import random

from braidcheck.ci import history
from tools import kill_history


def finished(folder, said, kills):
    log = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    kill_history.kill(folder, log, kills, 3, random.Random(1))
    return set(said.read_text().split())


def test_killed_writers_lose_nothing_that_they_finished(tmp_path):
    assert kill_history.lost(tmp_path / "history", finished(tmp_path / "history", tmp_path / "said", 10)) == set()


def test_a_run_that_is_not_there_is_lost(tmp_path):
    run = kill_history.a_run(0, 0)
    history.store({history.name(run): run.to_json()}, tmp_path)
    assert kill_history.lost(tmp_path, {"0-0", "0-1"}) == {"0-1"}
