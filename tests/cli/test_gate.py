"""``braidcheck gate`` over suites of fakes: phases, files, exit codes, interruption."""

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from braidcheck import environment, processes, scratch
from braidcheck.cli import gate, phases, pytest_runner, results
from braidcheck.golden import resolve
from braidcheck.result import Run, Status, Verdict
from braidcheck.suite import project_tests
from tests.test_processes import alive

FAILS = """
    @pytest.mark.parametrize("what", ["op[a]", "op[b]"])
    def test_it(what):
        return Verdict("accuracy", what, Status.FAIL, "too far", value=2.0, limit=1.0)
"""


def test_a_green_run_writes_its_files_and_ends_with_the_table(suite, run, result):
    completed = run("gate", "--workers", 1)
    made, body, junit = result()
    assert completed.code == body["exit_code"] == 0
    assert {verdict.gate for verdict in made.verdicts} == set(phases.GATES)
    assert {"commit", "libraries", "gpus", "seconds", "command", "lanes"} <= made.environment.keys()
    assert junit.count("<testcase ") == 6
    assert "PASS: 6 pass in" in completed.out.splitlines()[-1]
    assert "badge.svg are in braidcheck-out; for an HTML report: braidcheck report braidcheck-out" in completed.out
    assert gate.NO_OPS in completed.err  # elsewhere than in braidcheck's own folder


def test_failure_is_exit_1_with_one_message(suite, run):
    suite(accuracy=FAILS)
    completed = run("gate")
    assert completed.code == 1
    assert completed.out.splitlines()[:2] == [
        "fail accuracy op[a] | 2 (limit <= 1) | headroom none, 2 x the limit | 2 of 2 cases | suspect ops: op | "
        "braidcheck gate --lane interpret --op op -k 'op[a]'",
        "    too far",
    ]


def test_on_github_a_failure_is_annotated(suite, run, monkeypatch):
    suite(accuracy=FAILS)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::error title=fail accuracy op[a]::too far%0A" in run("gate").out
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert "::error" not in run("gate").out


def test_selection_runs_only_matching_items(suite, run, result):
    suite(accuracy=FAILS)
    assert run("gate", "-k", "op[a]").code == 1
    assert [verdict.subject for verdict in result()[0].verdicts] == ["op[a]"]
    suite(accuracy=FAILS.replace("op[", "rms_norm["))
    assert run("gate", "--op", "rms_norm").code == 1
    assert {verdict.subject for verdict in result()[0].verdicts} == {"rms_norm[a]", "rms_norm[b]"}


def test_on_gpus_speed_runs_after_the_rest_and_alone(suite, run, result, monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "gpus", lambda: tuple({"id": name, "name": "G"} for name in ("4", "6")))
    note = f"""
        @pytest.mark.parametrize("what", ["thing", "other"])
        def test_it(what):
            with open({str(tmp_path / "order")!r}, "a") as file:
                file.write(f"GATE {{os.environ['CUDA_VISIBLE_DEVICES']}}\\n")
            return Verdict("GATE", what, Status.PASS, "fine")
    """
    suite(speed=note.replace("GATE", "speed"), accuracy=note.replace("GATE", "accuracy"))
    assert run("gate", "--workers", 9).code == 0
    made, _, junit = result()
    assert len(made.verdicts) == 8
    assert made.environment["lanes"] == ["gpu"]
    assert junit.count("<testcase ") == 8
    assert (tmp_path / "order").read_text().splitlines()[2:] == ["speed 4", "speed 4"]


GPU_TESTS = """
import os
from pathlib import Path
import pytest

@pytest.mark.gpu
@pytest.mark.parametrize("what", ["right", "wrong"])
def test_planted(what, tmp_path):
    Path("temporary").write_text(str(tmp_path))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4"
    assert what == "right", "a GPU test went stale"

@pytest.mark.gpu
@pytest.mark.exclusive_gpu
def test_skipped():
    pytest.skip("no second GPU")

@pytest.fixture
def untidy():
    yield
    raise RuntimeError("left a process")

@pytest.mark.gpu
def test_untidy(untidy):
    pass

def test_on_a_cpu():
    raise AssertionError("not a GPU test")
"""


def test_gpu_tests_and_gate_both_run_whatever_the_other_says(suite, run, result, monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "gpus", lambda: ({"id": "4", "name": "G", "memory_gib": 80.0},))
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: needs a GPU\n")
    (tmp_path / "tests" / "test_planted.py").write_text(GPU_TESTS)
    (tmp_path / "tests" / "test_cpu.py").write_text("raise RuntimeError('no GPU test: why import it?')")
    suite(accuracy=FAILS)
    assert run("gate", "--tests", "tests").code == 1
    made, _, _ = result()
    tests = {v.subject.removeprefix("tests/test_planted.py::"): v for v in made.verdicts if v.gate == "tests"}
    assert {name: str(verdict.status) for name, verdict in tests.items()} == {
        "test_planted[right]": "pass",
        "test_planted[wrong]": "fail",
        "test_skipped": "skipped",
        "test_untidy": "error",
    }
    assert "a GPU test went stale" in tests["test_planted[wrong]"].message
    assert "left a process" in tests["test_untidy"].message
    assert tests["test_skipped"].message == "no second GPU"
    temporary = Path((tmp_path / "temporary").read_text())
    assert scratch.SUFFIX in str(temporary)
    assert not temporary.exists()
    summary = (tmp_path / "braidcheck-out" / "summary.md").read_text()
    assert "a GPU test went stale" in summary
    assert "too far" in summary
    assert {verdict.gate for verdict in made.verdicts} >= {"accuracy", "tests", "speed"}
    assert list(made.environment["phases"]) == ["correctness", "tests", "speed"]


def test_a_gpu_mark_that_a_conftest_gives_is_found(tmp_path):
    (tmp_path / "marked").mkdir()
    (tmp_path / "marked" / "conftest.py").write_text("mark = pytest.mark.gpu")
    for name in ("marked/test_a.py", "test_b.py"):
        (tmp_path / name).write_text("def test_it(): ...")
    ignored = {name: project_tests.pytest_ignore_collect(tmp_path / name) for name in ("marked/test_a.py", "test_b.py")}
    assert ignored == {"marked/test_a.py": None, "test_b.py": True}


def test_a_phase_that_breaks_hides_no_other(suite, run, result, monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "gpus", lambda: ({"id": "4", "name": "G", "memory_gib": 80.0},))
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    suite(accuracy=FAILS)
    assert run("gate", "--tests", "tests").code == 1
    made, _, _ = result()
    assert "no-such-option" in {verdict.gate: verdict.message for verdict in made.verdicts}["suite"]
    assert {verdict.gate for verdict in made.verdicts} >= {"accuracy", "speed"}


def test_missing_tests_folder_is_usage_error(refused):
    refused(2, "--tests nowhere: no such folder", "gate", "--tests", "nowhere")


def test_selection_without_match_is_usage_error(suite, run, refused):
    refused(2, "nothing matches -k no_such_thing; see: braidcheck list", "gate", "-k", "no_such_thing")
    refused(2, "-k 'not (a' is not a valid pytest expression", "gate", "-k", "not (a")


def test_an_earlier_result_is_never_taken_for_this_one(suite, run, result, tmp_path, refused):
    assert run("gate").code == 0
    (tmp_path / "braidcheck-out" / "speed").mkdir()
    (tmp_path / "braidcheck-out" / "speed" / "junit.xml").write_text("<testsuites><testcase /></testsuites>")
    (tmp_path / "braidcheck-out" / "mine.txt").touch()
    refused(2, "nothing matches", "gate", "-k", "no_such_thing")
    assert sorted(path.name for path in (tmp_path / "braidcheck-out").iterdir()) == [
        ".gate-lock",
        "correctness",
        "mine.txt",
    ]


def test_broken_run_is_not_available(suite, refused, tmp_path):
    (tmp_path / "suite" / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    refused(3, "--no-such-option", "gate")


def test_a_place_that_cannot_be_written_is_said(suite, refused, tmp_path):
    (tmp_path / "file").touch()
    refused(2, "give another --out", "gate", "--out", "file/inside")


def test_golden_of_another_model_is_recorded_first(suite, run, monkeypatch):
    asked = []

    def record(words, **_):
        asked.append(words)
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr(pytest_runner.subprocess, "run", record)
    monkeypatch.setattr(resolve, "find_checkpoint", lambda _model, _revision: (resolve.NANO, "abc"))
    assert run("gate", "--model", "some/model", "--dataset", "wikitext", "--revision", "v1").code == 3
    assert asked[0][2:] == [
        *("braidcheck", "golden", "record", "some/model", "--dataset", "wikitext", "--revision", "v1")
    ]


def test_a_model_that_our_engine_does_not_run_is_refused_before_its_golden_is_recorded(refused, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors").touch()
    monkeypatch.setattr(pytest_runner.subprocess, "run", None)
    refused(2, "braidcheck's engine runs model_type qwen3 only", "gate", "--model", str(tmp_path))


def test_a_model_that_is_not_there_is_one_line(refused, no_gpu, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(2, "no model ./nowhere", "gate", "--model", "./nowhere")


@pytest.mark.usefixtures("fresh_python")
def test_without_triton_gate_reports_skipped(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['triton'] = None\n")
    path = os.pathsep.join([str(tmp_path), str(environment.PACKAGE.parent)])
    words = [sys.executable, "-m", "braidcheck", "gate", "--workers", "1"]
    env = os.environ | {"PYTHONPATH": path}
    completed = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    made = Run.from_json((tmp_path / "braidcheck-out" / "run.json").read_text())
    assert completed.returncode == 3, completed.stderr
    assert {str(verdict.status) for verdict in made.verdicts} == {"skipped"}
    assert {verdict.gate for verdict in made.verdicts} == set(phases.GATES)
    assert "every op: Triton is not available here" in completed.stdout
    assert "SKIPPED" in completed.stdout.splitlines()[-1]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_two_gates_do_not_write_to_one_folder(suite, run, refused, tmp_path):
    suite()
    with results.claimed(tmp_path / "out"):
        refused(2, "another gate is writing to", "gate", "--workers", 1, "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()
    assert run("gate", "--workers", 1, "--out", tmp_path / "out").code == 0


@pytest.mark.parametrize(
    ("sent", "job"),
    [*itertools.product([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], [False, True]), (signal.SIGKILL, True)],
)
@pytest.mark.usefixtures("fresh_python")
def test_an_interrupted_run_says_what_it_has_and_leaves_whole_files(suite, tmp_path, result, sent, job):
    suite(
        coherence="""
        @pytest.mark.parametrize("what", ["quick", "slow"])
        def test_it(what):
            time.sleep(3600 if what == "slow" else 0)
            return Verdict("coherence", what, Status.PASS, "fine")
    """
    )
    driver = f"""
        import sys
        from pathlib import Path
        from braidcheck import environment
        from braidcheck import __main__
        from braidcheck.cli import phases, pytest_runner
        environment.gpus = tuple
        pytest_runner.SUITE = Path({str(pytest_runner.SUITE)!r})
        phases.GATES = {{name: phases.GATES[name] for name in {list(phases.GATES)!r}}}
        sys.argv[1:] = ["gate", "--workers", "1"]
        sys.exit(__main__.main())
    """
    env = os.environ | {"PYTHONPATH": str(environment.PACKAGE.parent)}
    words = [sys.executable, "-c", textwrap.dedent(driver)]
    child = subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    progress = tmp_path / "braidcheck-out" / "correctness" / "progress.json"
    done = []
    while child.poll() is None and "interpret/coherence/quick" not in done:
        time.sleep(0.05)
        done = json.loads(progress.read_text())["done"] if progress.exists() else []
    below = list(processes.descendants(child.pid))
    assert len(below) >= 2  # pytest and its worker
    for process in (*(reversed(below) if job else ()), child.pid):  # Slurm's time limit ends all, in any order
        with suppress(ProcessLookupError):
            os.kill(process, sent)
    out, err = child.communicate()
    while any(map(alive, below)):
        assert sent == signal.SIGKILL  # else the command waits for all
        time.sleep(0.02)
    if sent == signal.SIGKILL:
        (left,) = (tmp_path / "braidcheck-out" / "correctness").glob("*run.json")
        kept = Run.from_json(left.read_text())
        assert kept.environment["interrupted"]
        assert kept.verdicts
        assert {verdict.status for verdict in kept.verdicts} == {Status.PASS}
        return
    made, _, _ = result()
    assert child.returncode == 130, err
    assert made.environment["interrupted"] is True
    assert "Traceback" not in err
    subjects = {verdict.subject for verdict in made.verdicts}
    assert "quick" in subjects
    assert "slow" not in subjects
    assert "interpret/coherence/slow" in made.missing
    last = f"INTERRUPTED: {len(made.verdicts)} pass, {len(made.missing)} without a verdict"
    assert out.splitlines()[-1].startswith(last)


def test_the_attentions_that_can_be_asked_for_are_the_models():
    from braidcheck.cli.gate import Attention
    from braidcheck.models.qwen3.attention import BACKENDS
    from braidcheck.settings import ATTENTIONS

    assert tuple(BACKENDS) == ATTENTIONS
    assert set(Attention) == {*ATTENTIONS, "reference"}


STEPS = {
    "choose_lane": gate,
    "claimed": gate,
    "clear": gate,
    "phases_of": phases,
    "launch": phases,
    "write": results,
    "terminal": results,
}


@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_at_each_step_is_one_line_and_no_half_file(suite, refused, monkeypatch, tmp_path, step):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    done = Run({}, (), (Verdict("vacuity", "rms_norm", Status.PASS, "fine"),))
    monkeypatch.setattr(phases, "launch", lambda phase: (False, done))
    monkeypatch.setattr(STEPS[step], step, SimpleNamespace(show=interrupted) if step == "terminal" else interrupted)
    refused(130, "interrupted", "gate", "--workers", 1)
    for file in (tmp_path / "braidcheck-out").glob("*.json"):
        Run.from_json(file.read_text())
    assert not list(tmp_path.glob("braidcheck-out/.run*"))


def test_a_path_that_is_no_text_is_refused(suite, refused, tmp_path):
    refused(2, "cannot be encoded in this locale", "gate", "--out", tmp_path / "\udcfc")
    assert not list(tmp_path.glob("\udcfc"))
