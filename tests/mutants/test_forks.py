"""A trial's child may crash, hang or fail: each is told apart, with the place where it happened."""

import os
import time

import pytest

from braidcheck.mutants.forks import in_child


def crash(say):
    say({"gate": "accuracy", "subject": "a case"})
    os.abort()


def hang(say):
    say({"gate": "fence", "subject": "a case"})
    time.sleep(60)


def spin(say):
    say({"gate": "accuracy", "subject": "a case"})
    while True:
        pass


def broken(say):
    raise OSError("no disk")


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda say: {"outcome": "killed"}, {"outcome": "killed"}),
        (crash, {"outcome": "crash", "gate": "accuracy", "subject": "a case", "said": "the process died of SIGABRT"}),
        (hang, {"outcome": "timeout", "gate": "fence", "said": "still running after 1 s"}),
        (spin, {"outcome": "timeout", "gate": "accuracy", "said": "still running after 1 s"}),
        (broken, {"outcome": "error", "said": "OSError: no disk"}),
    ],
)
def test_what_became_of_the_child(work, expected):
    found = in_child(work, limit=1.0)
    assert {key: found[key] for key in expected} == expected
