"""A trial's child may crash, hang or fail: each is told apart, with the place where it happened."""

import os
import time

import pytest

from braidcheck.mutants.sandbox import in_child


def crash(say):
    say({"gate": "accuracy", "subject": "a case"})
    os.abort()


def hang(say):
    say({"gate": "fence", "subject": "a case"})
    time.sleep(3600)


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
        (broken, {"outcome": "error", "said": "OSError: no disk"}),
    ],
)
def test_what_became_of_a_child_that_ended(work, expected):
    found = in_child(work, limit=600.0)
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(("work", "gate"), [(hang, "fence"), (spin, "accuracy")])
def test_a_child_that_does_not_end_is_ended(work, gate):
    found = in_child(work, limit=1.0)
    assert {**found, "outcome": "timeout", "gate": gate, "said": "still running after 1 s"} == found
