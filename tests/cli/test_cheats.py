"""Cheats: each is refused, and what it set out to read, change or forge it did not get."""

import runpy
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

FILE = Path(__file__).with_name("cheats.py")
TABLES = runpy.run_path(str(FILE))
CHEATS, PROMISED = (
    [(function.__name__, says) for function, says in TABLES[name].items()] for name in ("CHEATS", "PROMISED_KERNELS")
)
SECONDS = 120


@pytest.fixture(scope="module")
def exchange(fresh_python):
    """One process for all cheats; the last of them spoils it."""
    workers = Workers("cpu")
    exchange = Exchange(workers.start, workers.file)
    with unreadable():
        yield exchange
    exchange.close()
    workers.close()


def outcomes(exchange, name, must_launch=False):
    """What is said where the function fails."""
    op = kernels.find()["rms_norm"]
    candidate = Candidate(op, f"{FILE}:{name}", exchange, SECONDS, must_launch)
    with use_candidate("rms_norm", candidate):
        for subject in subjects(op, candidate, "cpu", 11):
            try:
                verdict = subject.evaluate()
            except EndedError as how:
                yield str(how)
            else:
                if verdict.status == Status.FAIL:
                    yield verdict.message


@pytest.mark.parametrize(("cheat", "says"), PROMISED)
def test_what_is_no_kernel_is_refused_where_kernels_were_promised(exchange, cheat, says):
    assert says in next(outcomes(exchange, cheat, must_launch=True))


@pytest.mark.parametrize(("cheat", "says"), CHEATS)
def test_a_cheat_is_refused(exchange, cheat, says):
    assert says in next(outcomes(exchange, cheat))


def test_a_kernel_is_accepted_where_kernels_were_promised(exchange):
    exchange.close()  # the last cheat has patched its process
    op = kernels.find()["rms_norm"]
    candidate = Candidate(op, "braidcheck.kernels.rms_norm:rms_norm", exchange, SECONDS, must_launch=True)
    with use_candidate("rms_norm", candidate):
        verdicts = [subject.evaluate() for subject in subjects(op, candidate, "cpu", 11, "-nan-T3-H256")]
    assert {verdict.status for verdict in verdicts} == {Status.PASS}
