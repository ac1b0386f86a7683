"""How a function is asked: what ends or holds up its process fails by itself, and the rest is asked."""

import random

import pytest

from braidcheck.cli.candidate_checks import Subject
from braidcheck.cli.candidate_run import MAX_PROCESSES, Limits, Questions, evaluate
from braidcheck.isolation.process import EndedError, TimeLimitError
from braidcheck.result import Status, Verdict

LIMITS = Limits(20, 1000)


class Asked:
    """Stands for the function: each call takes it a second."""

    seconds = 0.0
    uninterpreted = ""

    def answers(self, *said):
        """A question that is answered so, one time after another; an exception is raised."""
        left = list(said)

        def evaluate():
            self.seconds -= 1
            one = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(one, BaseException):
                raise one
            return Verdict("accuracy", "a case", one, "said")

        return evaluate


def verdicts(*answers, limits=LIMITS, seed=1):
    asked = Asked()
    subjects = [Subject("accuracy", str(number), asked.answers(*said)) for number, said in enumerate(answers)]
    return Questions(subjects, asked, limits, random.Random(seed)).verdicts("checking")


def statuses(found):
    return [verdict.status for verdict in found]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            EndedError("ended the process (SIGSEGV)"),
            "the function ended the process (SIGSEGV): it accessed memory outside",
        ),
        (TimeLimitError(""), "the function is still running after 20 s; --timeout allows more"),
        (ValueError("a check that broke\nhere"), "ValueError: a check that broke"),
    ],
)
def test_exactly_the_guilty_subject_fails(error, says):
    found = verdicts([Status.PASS], [error], [Status.PASS])
    assert statuses(found) == [Status.PASS, Status.FAIL, Status.PASS]
    assert found[1].message.startswith(says)
    assert found[1].subject == "1"


def test_a_function_that_always_ends_its_process_is_not_asked_for_ever():
    found = verdicts(*[[EndedError("ended the process (exit 0)")]] * (MAX_PROCESSES + 2))
    assert sorted(statuses(found)) == [Status.ERROR] * 2 + [Status.FAIL] * MAX_PROCESSES
    assert {verdict.message for verdict in found if verdict.status == Status.ERROR} == {
        "not run: the function ended or held up its process 6 times before"
    }


def test_all_together_have_a_limit_of_time():
    found = verdicts(*[[Status.PASS]] * 8, limits=Limits(20, 5))
    assert sorted(statuses(found)) == [Status.ERROR] * 3 + [Status.PASS] * 5
    assert "not run: the function took 5 s in all; --total-timeout allows more" in {v.message for v in found}


def test_a_case_is_asked_again_after_others():
    found = verdicts([Status.PASS, Status.FAIL], [Status.PASS, Status.SKIPPED], [Status.PASS], [Status.SKIPPED])
    assert statuses(found) == [Status.FAIL, Status.FAIL, Status.PASS, Status.SKIPPED]
    assert found[0].message == "right at first, wrong when repeated: said"


def test_the_order_is_drawn():
    def order(seed):
        said, passed = [], Verdict("fence", "a case", Status.PASS, "said")
        subjects = [Subject("fence", str(number), lambda n=number: said.append(n) or passed) for number in range(9)]
        Questions(subjects, Asked(), LIMITS, random.Random(seed)).verdicts("checking")
        return said

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == list(range(9))


COUNTS_THREADS = """
import torch


def rms_norm(x, weight, eps):
    raise RuntimeError(f"{torch.get_num_threads()} threads")
"""


@pytest.mark.usefixtures("fresh_python")
def test_a_function_has_one_thread_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    (tmp_path / "own.py").write_text(COUNTS_THREADS)
    found = evaluate("rms_norm", f"{tmp_path / 'own.py'}:rms_norm", "cpu", 1, "[float32-tail", LIMITS)
    assert any(verdict.message.endswith("RuntimeError: 1 threads (own.py:6)") for verdict in found)
