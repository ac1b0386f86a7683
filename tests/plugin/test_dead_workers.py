"""What a worker that dies leaves: its item is an error or a failure, and nothing else is lost."""

from collections import Counter

import pytest

from braidcheck.cli import pytest_runner as launcher
from braidcheck.errors import NotAvailable
from tests.plugin.conftest import statuses


def test_item_that_kills_its_worker_is_error_without_rerun(evaluate, tmp_path):
    run = evaluate(
        f"""
        @pytest.mark.parametrize("what", ["a", "killer", "b", "c"])
        def test_item(what):
            with open({str(tmp_path / "ran")!r}, "a") as file:
                file.write(what + " ")
            if what == "killer":
                os._exit(11)
            return verdict(what)
        """,
        workers=2,
    )
    assert statuses(run) == {"a": "pass", "killer": "error", "b": "pass", "c": "pass"}
    assert run.exit_code == 3
    assert Counter((tmp_path / "ran").read_text().split()) == Counter(["a", "killer", "b", "c"])


ENDS_THE_SESSION = """
import functools

def bytes_of(what):
    if what == "unknown":
        raise ValueError("no bytes are known")
    return 0

Cuda = types.SimpleNamespace(
    is_initialized=lambda: False, get_device_properties=lambda device: types.SimpleNamespace(total_memory=1)
)
sys.modules["torch"] = types.SimpleNamespace(cuda=Cuda)

def item(what):
    return pytest.param(what, marks=pytest.mark.gpu_memory(functools.partial(bytes_of, what)))

@pytest.mark.parametrize("what", map(item, ["a", "unknown", "b", "exit", "c", "d", "e", "f"]))
def test_item(what):
    with open(Path(__file__).parent / "ran", "a") as file:
        file.write(f"{what} ")
    if what == "exit":
        pytest.exit("the session is over", returncode=7)
    return verdict(what)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_that_would_end_its_workers_session_is_an_error_and_the_rest_is_run(evaluate, workers):
    run = evaluate(ENDS_THE_SESSION, lane="gpu", gpus=("0",), workers=workers)
    assert statuses(run) == {"unknown": "error", "exit": "error"} | dict.fromkeys("abcdef", "pass")
    assert run.missing == ()
    assert sorted((launcher.SUITE / "ran").read_text().split()) == [*"abcde", "exit", "f"]
    said = {verdict.subject: verdict.message for verdict in run.verdicts}
    assert said["unknown"] == "ValueError: no bytes are known."
    assert said["exit"] == "Exit: the session is over."


def test_items_sharing_a_measurement_run_on_one_worker(evaluate):
    run = evaluate(
        """
        @pytest.fixture(scope="module")
        def measurement():
            return os.getpid()

        @pytest.mark.parametrize("what", ["a", "b", "c", "d"])
        def test_item(what, measurement):
            (Path(__file__).parent / f"pid-{measurement}").touch()
            return verdict(what, gate="coherence")
        """,
        workers=2,
        gate="coherence",
    )
    assert set(statuses(run).values()) == {"pass"}
    assert len(list(launcher.SUITE.glob("pid-*"))) == 1


def test_items_sharing_a_measurement_with_crash_are_missing(evaluate):
    run = evaluate(
        """
        @pytest.mark.parametrize("what", ["a", "killer", "b"])
        def test_item(what):
            if what == "killer":
                os._exit(11)
            return verdict(what, gate="coherence")
        """,
        gate="coherence",
    )
    assert statuses(run) == {"a": "pass", "killer": "error"}
    assert run.missing == ("interpret/coherence/b",)
    assert run.exit_code == 3


def test_two_workers_that_die_at_once_lose_nothing_else(evaluate):
    run = evaluate(
        """
        import time

        @pytest.mark.parametrize("what", ["killer", "killer too", *"abcdefgh"])
        def test_item(what):
            if "killer" in what:
                (Path(__file__).parent / what).touch()
                while len(list(Path(__file__).parent.glob("killer*"))) < 2:
                    time.sleep(0.01)
                os._exit(11)
            return verdict(what)
        """,
        workers=2,
    )
    assert statuses(run) == {"killer": "error", "killer too": "error"} | dict.fromkeys("abcdefgh", "pass")
    assert run.missing == ()


def test_an_item_that_crashes_its_worker_fails_and_says_how(evaluate):
    run = evaluate("""
        import signal

        @pytest.mark.parametrize("what", ["a", "crashes", "b", "is killed"])
        def test_item(what):
            if what == "crashes":
                os.kill(os.getpid(), signal.SIGSEGV)
            if what == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            return verdict(what)
    """)
    assert statuses(run) == {"a": "pass", "crashes": "fail", "b": "pass", "is killed": "error"}
    said = {verdict.subject: verdict.message for verdict in run.verdicts}
    assert "died (SIGSEGV)" in said["crashes"]
    assert "died (SIGKILL)" in said["is killed"]


DIES_COLLECTING = """
from braidcheck import kernels

if not kernels.left_out():
    DIE

@pytest.mark.parametrize("what", ["a", "b"])
def test_item(what):
    return verdict(what, Status.PASS if kernels.left_out() == {"op": "it crashed"} else Status.FAIL)
"""


def test_an_op_that_ends_whoever_imports_it_is_found_and_left_out(evaluate, monkeypatch):
    monkeypatch.setattr(launcher.imports, "broken", lambda names, lane: {"op": "it crashed"})
    monkeypatch.setattr("braidcheck.kernels.names", tuple)  # nothing is imported here
    assert statuses(evaluate(DIES_COLLECTING.replace("DIE", "os.kill(os.getpid(), 11)"), workers=2)) == {
        "a": "pass",
        "b": "pass",
    }


def test_workers_that_end_while_they_collect_and_no_op_does_break_the_run(evaluate, monkeypatch):
    monkeypatch.setattr(launcher.imports, "broken", lambda names, lane: {})
    with pytest.raises(NotAvailable, match="every worker process died while collecting"):
        evaluate(DIES_COLLECTING.replace("DIE", "os._exit(0)"))
