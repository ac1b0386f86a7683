"""What ``braidcheck check`` asks beyond the cases: each wrong function is refused, each right one accepted."""

import runpy
from contextlib import ExitStack
from pathlib import Path

import pytest

from braidcheck import kernels
from braidcheck.cli.candidate_checks import subjects
from braidcheck.gates.under_test import use_candidate
from braidcheck.gates.under_test.candidate import Candidate
from braidcheck.gates.under_test.workers import Workers
from braidcheck.isolation.exchange import Exchange
from braidcheck.result import Status

FILE = Path(__file__).with_name("candidates.py")
TABLES = runpy.run_path(str(FILE))
SEED = 11
SECONDS = 600


def named(table):
    return [(op, function.__name__) for op, functions in table.items() for function in functions]


@pytest.fixture(scope="module")
def exchange():
    """One process for all functions of this module."""
    workers = Workers("cpu")
    exchange = Exchange(workers.start, workers.file)
    yield exchange
    exchange.close()
    workers.close()


@pytest.fixture
def asked(exchange):
    """Lists what is asked of a function; afterwards the op's own wrapper is tested again."""
    with ExitStack() as used:

        def ask(op, function):
            whole = kernels.find()[op]
            candidate = Candidate(whole, f"{FILE}:{function}", exchange, SECONDS)
            used.enter_context(use_candidate(op, candidate))
            return subjects(whole, candidate, "cpu", SEED)

        yield ask


@pytest.mark.parametrize(("op", "function"), named(TABLES["RIGHT"]))
def test_right_function_is_accepted(asked, op, function):
    verdicts = [subject.evaluate() for subject in asked(op, function)]
    refused = [f"{v.gate} {v.subject}: {v.message}" for v in verdicts if v.status in (Status.FAIL, Status.ERROR)]
    assert not refused
    assert sum(v.status == Status.PASS for v in verdicts) > 20


@pytest.mark.parametrize(("op", "function"), named(TABLES["WRONG"]))
def test_wrong_function_is_refused(asked, op, function):
    verdicts = (subject.evaluate() for subject in asked(op, function))
    assert any(verdict.status == Status.FAIL for verdict in verdicts)
