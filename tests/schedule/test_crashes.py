"""What a worker's death says of the item that it was running."""

import signal

import pytest

from braidcheck.result import Status
from braidcheck.schedule import crashes


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        (signal.SIGSEGV, Status.FAIL, "The worker process died (SIGSEGV) while"),
        (signal.SIGABRT, Status.FAIL, "died (SIGABRT) while"),
        (signal.SIGKILL, Status.ERROR, "died (SIGKILL) while"),
        (signal.SIGTERM, Status.ERROR, "died (SIGTERM) while"),
        (None, Status.ERROR, "The worker process died while"),
    ],
)
def test_only_what_a_process_computes_itself_is_a_failure(end, status, words):
    found, message = crashes.verdict_on(end)
    assert found == status
    assert words in message
