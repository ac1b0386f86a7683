"""Gate runs over small suites of fakes: what comes back, and what a dead worker leaves."""

import getpass
import os
import shutil
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

from braidcheck.cli import pytest_runner as launcher
from braidcheck.cli.pytest_runner import Phase, launch
from braidcheck.errors import NotAvailable
from braidcheck.plugin import VERDICT, Controller, SuiteWorker
from braidcheck.result import Run, Status, Verdict
from braidcheck.schedule.durations import Durations
from braidcheck.settings import Settings

HEAD = """
import os, sys, types
from pathlib import Path
import pytest
from braidcheck.errors import UserError
from braidcheck.result import Status, Verdict

def verdict(subject, status=Status.PASS, gate="demo"):
    return Verdict(gate, subject, status, f"{subject} is {status}")
"""


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Runs a suite made of the given source, in which ``test_item`` is the gate's test; returns its Run."""
    suite = tmp_path / "suite"
    suite.mkdir()
    shutil.copy(launcher.SUITE / "pytest.ini", suite)
    monkeypatch.setattr(launcher, "SUITE", suite)

    def go(source, workers=1, expression="", gate="demo", **settings):
        source = textwrap.dedent(source).replace("def test_item(", f"def test_{gate}(")
        (suite / launcher.ITEMS).write_text(HEAD + source)
        chosen = Settings(**{"lane": "interpret", "out": str(tmp_path / "out"), **settings})
        interrupted, run = launch(Phase("correctness", (gate,), chosen, workers, expression))
        assert not interrupted
        return run

    return go


def statuses(run):
    return {verdict.subject: str(verdict.status) for verdict in run.verdicts}


def test_every_status_comes_back_and_what_an_item_raises_is_an_error(evaluate, tmp_path):
    run = evaluate("""
        @pytest.fixture
        def broken(what):
            if what == "fixture":
                raise RuntimeError("no fixture")

        @pytest.mark.parametrize("what", [*map(str, Status), "bug", "user", "fixture", "other"])
        def test_item(what, broken):
            if what == "bug":
                raise ZeroDivisionError("by zero\\nmore")
            if what == "user":
                raise UserError("do this instead")
            return verdict("somebody") if what == "other" else verdict(what, what)
    """)
    assert statuses(run) == {
        **{name: name for name in ("pass", "fail", "error", "inconclusive", "skipped")},
        **dict.fromkeys(("bug", "user", "fixture", "other"), "error"),
    }
    said = {verdict.subject: verdict for verdict in run.verdicts}
    assert said["bug"].message == "ZeroDivisionError: by zero."
    assert said["user"].message == "do this instead."
    assert "by zero" in Path(said["bug"].metrics["traceback"]).read_text()
    assert "returned the verdict" in said["other"].message
    assert said["fail"].lane == "interpret"
    assert said["fail"].reproduce == "braidcheck gate --lane interpret -k 'demo and fail'"
    assert run.missing == ()
    assert run.exit_code == 1
    junit = (tmp_path / "out" / "correctness" / "junit.xml").read_text()
    assert 'tests="9"' in junit


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


OUT_OF_MEMORY = """
class OutOfMemoryError(RuntimeError):
    pass

@pytest.mark.parametrize("what", ["a", "large", "b", "c"])
def test_item(what):
    with open(Path(__file__).parent / "ran", "a") as file:
        file.write(f"{what} ")
    if what == "large" and (ALWAYS or (Path(__file__).parent / "ran").read_text().count("large") == 1):
        raise OutOfMemoryError("Tried to allocate 2.00 GiB")
    return verdict(what)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_out_of_memory_item_is_rerun_alone(evaluate, workers):
    run = evaluate("ALWAYS = False" + OUT_OF_MEMORY, lane="gpu", gpus=("0",), workers=workers)
    assert statuses(run) == dict.fromkeys(("a", "large", "b", "c"), "pass")
    assert sorted((launcher.SUITE / "ran").read_text().split()) == ["a", "b", "c", "large", "large"]


def test_an_item_that_has_too_little_gpu_memory_alone_is_an_error(evaluate):
    run = evaluate("ALWAYS = True" + OUT_OF_MEMORY, lane="gpu", gpus=("0",))
    assert statuses(run) == {"a": "pass", "large": "error", "b": "pass", "c": "pass"}
    assert "Tried to allocate" in {v.subject: v.message for v in run.verdicts}["large"]


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


GPU_ITEM = """
@pytest.mark.parametrize("what", ["a", "killer", "b", "c"])
def test_item(what):
    if what == "killer" and one_worker:
        os._exit(11)
    (Path(__file__).parent / f"gpu-{os.environ['CUDA_VISIBLE_DEVICES']}-{os.getpid()}").touch()
    return verdict(what)
"""


def test_each_worker_has_a_gpu_of_its_own(evaluate):
    evaluate("one_worker = False" + GPU_ITEM, workers=2, gpus=("3", "7"))
    assert sorted(file.name.split("-")[1] for file in launcher.SUITE.glob("gpu-*")) == ["3", "7"]


def test_workers_share_gpus_evenly(evaluate):
    evaluate("one_worker = False" + GPU_ITEM, workers=4, gpus=("3", "7"))
    assert sorted(file.name.split("-")[1] for file in launcher.SUITE.glob("gpu-*")) == ["3", "3", "7", "7"]


def test_a_worker_that_died_hands_its_gpu_on(evaluate):
    run = evaluate("one_worker = True" + GPU_ITEM, gpus=("3",))
    assert statuses(run) == {"a": "pass", "killer": "error", "b": "pass", "c": "pass"}
    assert [file.name.split("-")[1] for file in launcher.SUITE.glob("gpu-*")] == ["3", "3"]


@pytest.mark.parametrize("settings", [{}, {"lane": "gpu", "gpus": ("0",)}], ids=["own", "shared"])
def test_a_worker_with_a_broken_gpu_context_reports_and_is_replaced(evaluate, settings):
    run = evaluate(
        """
        class Cuda:
            broken = False
            is_initialized = staticmethod(lambda: True)
            def synchronize():
                if Cuda.broken:
                    raise RuntimeError("CUDA error: an illegal memory access was encountered")
            reset_peak_memory_stats = empty_cache = synchronize
            max_memory_allocated = staticmethod(lambda: 0)

        sys.modules["torch"] = types.SimpleNamespace(cuda=Cuda)

        @pytest.fixture
        def observed(what):
            if what.startswith("breaks"):
                Cuda.broken = True
            if what == "breaks in setup":
                raise RuntimeError("CUDA error")

        @pytest.mark.parametrize("what", ["before", "breaks", "between", "breaks in setup", "after"])
        def test_item(what, observed):
            if what == "breaks":
                return verdict(what, Status.FAIL)
            return verdict(what, Status.FAIL if Cuda.broken else Status.PASS)
    """,
        **settings,
    )
    expected = {"breaks": "fail", "breaks in setup": "error"}
    assert statuses(run) == dict.fromkeys(("before", "between", "after"), "pass") | expected
    assert "the worker was replaced" in {v.subject: v.message for v in run.verdicts}["breaks in setup"]


def test_nothing_of_the_project_around_is_read(evaluate, tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    for name in ("conftest.py", "json.py", "rich.py", "numpy.py"):
        (project / name).write_text("raise RuntimeError('foreign code ran')")
    (project / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (project / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '--no-such-option'\n")
    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_plugin")
    monkeypatch.setenv("TRITON_INTERPRET", "yes please")
    run = evaluate("""
        @pytest.mark.parametrize("what", ["a"])
        def test_item(what):
            assert os.environ["TRITON_INTERPRET"] == "1"
            return verdict(what)
    """)
    assert statuses(run) == {"a": "pass"}


def test_what_other_pytest_runs_left_is_not_cleaned_up(evaluate, tmp_path, monkeypatch):
    """Folders of 60,000 files kept a gate of 20 checks from ending for minutes."""
    monkeypatch.setenv("PYTEST_DEBUG_TEMPROOT", str(tmp_path))
    left = [tmp_path / f"pytest-of-{getpass.getuser()}" / f"pytest-{number}" for number in range(5)]
    left[0].parent.mkdir(mode=0o700)
    for folder in left:
        folder.mkdir()
    run = evaluate("""
        @pytest.mark.parametrize("what", ["a"])
        def test_item(what):
            return verdict(what)
    """)
    assert statuses(run) == {"a": "pass"}
    assert sorted(left[0].parent.iterdir()) == left


def test_the_gpu_lane_does_not_interpret(evaluate, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    run = evaluate(
        """
        @pytest.mark.parametrize("what", ["a"])
        def test_item(what):
            assert "TRITON_INTERPRET" not in os.environ
            return verdict(what)
        """,
        lane="gpu",
        gpus=("0",),
    )
    assert statuses(run) == {"a": "pass"}


def test_a_suite_that_cannot_be_collected_is_an_error(evaluate):
    run = evaluate("import no_such_module")
    assert [str(verdict.status) for verdict in run.verdicts] == ["error"]
    assert "no_such_module" in run.verdicts[0].message
    assert run.exit_code == 3


def test_long_observations_say_how_far_they_are(evaluate):
    run = evaluate("""
        @pytest.mark.parametrize("what", ["a", "b"])
        def test_item(what, progress, settings):
            file = Path(settings.out) / "observing.txt"
            assert not file.exists()
            progress("document 1 of 3")
            assert file.read_text() == "document 1 of 3"
            return verdict(what)
    """)
    assert statuses(run) == {"a": "pass", "b": "pass"}


def test_the_time_left_is_told_by_how_long_items_usually_take(tmp_path, monkeypatch):
    out = tmp_path / "correctness"
    out.mkdir()
    controller = Controller(Settings("interpret", str(out)))
    items = [f"items.py::test_demo[{letter}]" for letter in "abc"]
    controller.pytest_xdist_node_collection_finished(items)
    usual = Durations(dict.fromkeys(("interpret/demo/a", "interpret/demo/b", "interpret/demo/c"), 50.0), {})
    phase = Phase("correctness", ("demo",), Settings("interpret", str(tmp_path)), 1, "", usual)
    assert launcher._look(phase)[:4] == (0, 3, "", "")
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    controller.pytest_runtest_logstart(items[0])
    assert launcher._look(phase)[:4] == (0, 3, "demo a", "about 2 min left")  # 150 s
    monkeypatch.setattr(time, "time", lambda: 1040.0)
    assert launcher._look(phase)[:4] == (0, 3, "demo a", "about 110 s left")


@pytest.mark.parametrize(("lane", "threads"), [("interpret", "1"), ("gpu", "3")])
def test_workers_do_not_oversubscribe_the_cores(evaluate, monkeypatch, lane, threads):
    monkeypatch.setattr(launcher.environment, "cpus", lambda: 6)
    run = evaluate(
        f"""
        @pytest.mark.parametrize("what", ["a", "b"])
        def test_item(what):
            assert os.environ["OMP_NUM_THREADS"] == "{threads}"
            return verdict(what)
        """,
        workers=2,
        lane=lane,
    )
    assert set(statuses(run).values()) == {"pass"}


def test_timeouts_end_an_item(evaluate):
    run = evaluate("""
        import time

        @pytest.mark.timeout(0.5)
        @pytest.mark.parametrize("what", ["hangs"])
        def test_item(what):
            time.sleep(60)
    """)
    assert statuses(run) == {"hangs": "error"}
    assert "imeout" in run.verdicts[0].message


def test_the_environment_of_this_process_stays_as_it_is(evaluate):
    before = dict(os.environ)
    evaluate("")
    assert dict(os.environ) == before | {"PYTEST_CURRENT_TEST": os.environ["PYTEST_CURRENT_TEST"]}


class Item:
    """A stand-in of an item, which returns a verdict."""

    nodeid = "suite/items.py::test_accuracy[op[a]]"
    _fixtureinfo = type("Info", (), {"argnames": ()})

    def __init__(self, verdict=None):
        self.obj = lambda: verdict
        self.stash, self.funcargs = {}, {}


@pytest.fixture
def settings(tmp_path):
    return Settings("interpret", str(tmp_path))


@pytest.mark.parametrize(("gate", "subject"), [("accuracy", "op[b]"), ("fence", "op[a]")])
def test_an_item_may_not_return_another_s_verdict(settings, gate, subject):
    with pytest.raises(TypeError, match=f"returned the verdict {gate}/"):
        SuiteWorker(settings).pytest_pyfunc_call(Item(Verdict(gate, subject, Status.PASS, "fine")))


@pytest.mark.parametrize("status", [Status.FAIL, Status.ERROR, Status.INCONCLUSIVE])
def test_a_verdict_that_does_not_pass_fails_its_item(settings, status):
    item = Item(Verdict("accuracy", "op[a]", status, "a sentence"))
    with pytest.raises(pytest.fail.Exception, match="a sentence"):
        SuiteWorker(settings).pytest_pyfunc_call(item)
    assert item.stash[VERDICT].status == status


def test_what_an_item_raises_is_an_error_with_its_traceback(settings):
    call = pytest.CallInfo.from_call(lambda: 1 / 0, "call")
    verdict = SuiteWorker(settings).verdict(Item(), call, None)
    assert (verdict.id, verdict.status) == ("accuracy/op[a]", Status.ERROR)
    assert verdict.message == "ZeroDivisionError: division by zero."
    assert "ZeroDivisionError" in Path(verdict.metrics["traceback"]).read_text()


def report(nodeid, failed=False, verdicts=()):
    """A stand-in of the report of an item."""
    properties = [("verdict", verdict.to_json()) for verdict in verdicts]
    return type("Report", (), {"nodeid": nodeid, "failed": failed, "user_properties": properties})


def test_what_was_collected_is_expected_and_what_is_not_reported_is_missing(settings, tmp_path):
    controller = Controller(settings)
    ids = [f"items.py::test_accuracy[op[{case}]]" for case in "abc"]
    controller.pytest_xdist_node_collection_finished(ids)
    controller.pytest_runtest_logreport(
        report(ids[0], verdicts=[Verdict("accuracy", "op[a]", Status.PASS, "fine", lane="interpret")])
    )
    controller.pytest_runtest_logreport(report(ids[1], failed=True))
    controller.pytest_sessionfinish(pytest.ExitCode.TESTS_FAILED)
    run = Run.from_json((tmp_path / "run.json").read_text())
    assert run.missing == ("interpret/accuracy/op[c]",)
    assert {verdict.subject: verdict.status for verdict in run.verdicts} == {"op[a]": "pass", "op[b]": "error"}
    assert run.exit_code == 3
