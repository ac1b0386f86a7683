"""Cheats: each is refused, and what it set out to read, change or forge it did not get."""

import runpy
from contextlib import closing
from pathlib import Path

import pytest

from braidcheck import kernels
from braidcheck.cli.candidate_checks import subjects
from braidcheck.gates.under_test import use_candidate
from braidcheck.gates.under_test.candidate import Candidate
from braidcheck.gates.under_test.workers import Workers
from braidcheck.isolation.exchange import Exchange
from braidcheck.isolation.privacy import unreadable
from braidcheck.isolation.process import EndedError
from braidcheck.result import Status

FILES = [Path(__file__).with_name(name) for name in ("cheats_around.py", "cheats.py")]
CHEATS, PROMISED = (
    [(f"{file}:{cheat.__name__}", says) for file in FILES for cheat, says in runpy.run_path(str(file))[name].items()]
    for name in ("CHEATS", "PROMISED_KERNELS")
)
SECONDS = 120


@pytest.fixture(scope="module")
def exchange(fresh_python, answers):
    """One process for the cheats of a file, or until one ends it; the last of a file spoils it."""
    workers = Workers("cpu")
    exchange = Exchange(workers.start, workers.file)
    with unreadable():
        yield exchange
    exchange.close()
    workers.close()


def outcomes(exchange, function, must_launch=False):
    """What is said where the function fails."""
    op = kernels.find()["rms_norm"]
    candidate = Candidate(op, function, exchange, SECONDS, must_launch)
    with use_candidate("rms_norm", candidate):
        for subject in subjects(op, candidate, "cpu", 11):
            try:
                verdict = subject.evaluate()
            except EndedError as how:
                yield str(how)
            else:
                if verdict.status == Status.FAIL:
                    yield verdict.message


def name_of(value):
    return value.rpartition(":")[2] if ".py:" in value else "-"


@pytest.mark.parametrize(("cheat", "says"), PROMISED, ids=name_of)
def test_what_is_no_kernel_is_refused_where_kernels_were_promised(exchange, cheat, says):
    with closing(outcomes(exchange, cheat, must_launch=True)) as said:
        assert says in next(said)


@pytest.mark.parametrize(("cheat", "says"), CHEATS, ids=name_of)
def test_a_cheat_is_refused(exchange, cheat, says):
    with closing(outcomes(exchange, cheat)) as said:
        assert says in next(said)


def test_a_kernel_is_accepted_where_kernels_were_promised(exchange):
    exchange.close()  # the last cheat has patched its process
    op = kernels.find()["rms_norm"]
    candidate = Candidate(op, "braidcheck.kernels.rms_norm:rms_norm", exchange, SECONDS, must_launch=True)
    with use_candidate("rms_norm", candidate):
        verdicts = [subject.evaluate() for subject in subjects(op, candidate, "cpu", 11, "-nan-T3-H256")]
    assert {verdict.status for verdict in verdicts} == {Status.PASS}
