"""Faults of a GPU, one a function: exactly that function fails, with its cause, and the next one meets a clean context.

On a GPU, all kinds with a line for each: ``pytest -m gpu -s tests/cli/test_faults.py``
"""

import time
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

FILE = Path(__file__).with_name("faults.py")
CASE, FENCE = ("accuracy", "bfloat16-nan-T3-H256]"), ("fence", "float32-cancel-T5-H128]")
AGAIN = "calls", "called again on rms_norm[float32-cancel-T3-H128]"
FAULTS = {  # the gate and the subject that is asked, and what is said
    "infinite_loop": (CASE, "is still running after"),
    "illegal_address": (CASE, "illegal memory access"),
    "misaligned_address": (CASE, "misaligned address"),
    "device_assert": (CASE, "device-side assert"),
    "out_of_memory": (CASE, "memory"),
    "nan": (CASE, "non-finite"),
    "unwritten_output": (CASE, "uninitialized"),
    "overrun_output": (FENCE, "out"),
    "modified_inputs": (AGAIN, "the call changes"),
    "wrong_second_call": (AGAIN, ""),
}
INTERPRETED = {**FAULTS, "illegal_address": (CASE, "SIGSEGV"), "overrun_output": (FENCE, "SIGSEGV")}
ON_A_CPU = ("illegal_address", "overrun_output", "unwritten_output", "modified_inputs", "wrong_second_call")
LOOP_S, LOAD_S = 5, 120  # seconds for what never ends, and for the rest on a loaded machine
PLANTED = [pytest.param("cuda", fault, marks=pytest.mark.gpu) for fault in FAULTS]
PLANTED += [pytest.param("cpu", fault) for fault in ON_A_CPU]


@pytest.fixture(scope="module")
def exchanges(answers):
    """One process a device, replaced where a fault ends it."""
    made = {}

    def of(device):
        if device not in made:
            workers = Workers(device)
            made[device] = Exchange(workers.start, workers.file), workers
        return made[device][0]

    with unreadable():
        yield of
    for exchange, workers in made.values():
        exchange.close()
        workers.close()


def said(exchange, device, name, gate, chosen, seconds=LOAD_S):
    """Status and message of the gate's subject whose name holds ``chosen``."""
    op = kernels.find()["rms_norm"]
    candidate = Candidate(op, f"{FILE}:{name}", exchange, LOAD_S)
    candidate.seconds = seconds
    with use_candidate("rms_norm", candidate):
        try:
            subject = next(one for one in subjects(op, candidate, device, 11, chosen) if one.gate == gate)
            candidate.seconds = seconds
            verdict = subject.evaluate()
        except EndedError as how:
            return Status.FAIL, str(how)
    return verdict.status, verdict.message


@pytest.mark.parametrize(("device", "fault"), PLANTED)
def test_exactly_the_guilty_function_fails_with_its_cause(exchanges, device, fault):
    asked, cause = (FAULTS if device == "cuda" else INTERPRETED)[fault]
    exchange, began = exchanges(device), time.monotonic()
    status, message = said(exchange, device, fault, *asked, seconds=LOOP_S if "loop" in fault else LOAD_S)
    took = time.monotonic() - began
    after, why = said(exchange, device, "right", *asked)
    print(f"\n{fault} | {device} | {status}: {message} | {took:.1f} s | the right one after it: {after}")
    assert (status, cause in message) == (Status.FAIL, True)
    assert after == Status.PASS, why
