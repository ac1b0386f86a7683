"""``braidcheck gate --engine``: the documented ten lines on a part of nano's golden; engines that cannot be made."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from braidcheck import environment, scratch
from braidcheck.cli import engine_gate, main, results
from braidcheck.engines import process
from braidcheck.errors import UserError
from braidcheck.result import Run
from tests.test_processes import alive

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
BAD = Path(__file__).parents[1] / "engines" / "bad_engines.py"


def example():
    """The indented lines of the page's section."""
    section = PAGE.read_text(encoding="utf-8").split("## An engine in ten lines\n")[1].split("\n##")[0]
    code = section.split("\n\nSave")[0].strip("\n").split("\n")
    return "\n".join(line[4:] for line in code)


@pytest.fixture
def part_of_golden(monkeypatch):
    from braidcheck.golden import resolve as place
    from braidcheck.golden.subset import shortest

    checkpoint, golden = place.resolve()
    part = shortest(golden, 1800, 1, 18)
    monkeypatch.setattr(place, "resolve", lambda *args, **options: (checkpoint, part))
    return part


def test_the_documented_example_is_ten_lines_and_passes(tmp_path, part_of_golden):
    file = tmp_path / "my_engine.py"
    file.write_text(example(), encoding="utf-8")
    assert len([line for line in example().split("\n") if line.strip()]) <= 10
    code = main(["gate", "--engine", f"{file}:Engine", "--out", str(tmp_path / "out")])
    run = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    bad = [(v["subject"], v["message"]) for v in run["verdicts"] if v["status"] in ("fail", "error")]
    assert not bad
    assert code in (0, 3)  # a part of the golden may be too little to tell
    ids = {"/".join((v["gate"], v["subject"])) for v in run["verdicts"]}
    assert ids == set(run["expected"])
    assert any(v["status"] == "skipped" and "no batches" in v["message"] for v in run["verdicts"])
    assert run["environment"]["engine"]["methods"] == ["generate", "prefill"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "cannot be made: it raised OSError: no weights in"),
        ("hangs", "gave no answer in 0.5 s"),
        ("Nothing", "has neither prefill nor generate"),
    ],
)
def test_an_engine_that_cannot_be_made_is_one_line(name, said, tmp_path, capsys, part_of_golden):
    words = ["gate", "--engine", f"{BAD}:{name}", "--out", str(tmp_path)]
    assert main(words + (["--engine-timeout", "0.5"] if name == "hangs" else [])) == 2
    error = capsys.readouterr().err.strip().split("\n")[-1]
    assert re.match("braidcheck: ", error)
    assert said in error


def test_options_of_our_own_gates_are_refused(tmp_path, capsys):
    assert main(["gate", "--engine", f"{BAD}:Table", "-k", "kl", "--out", str(tmp_path)]) == 2
    assert "--engine runs all gates of an engine" in capsys.readouterr().err


def test_a_folder_that_another_gate_writes_to_is_refused(tmp_path, capsys):
    with results.claimed(tmp_path):
        assert main(["gate", "--engine", f"{BAD}:Table", "--out", str(tmp_path)]) == 2
    assert "another gate is writing to" in capsys.readouterr().err


def asked(engine, **more):
    return engine_gate.EngineRequest(engine, "", process.Launch.timeout_s, 0, "m", "nano", None, "corpus", **more)


def test_a_run_tells_no_password():
    one = asked("http://u:secret@h:1/v1", against="http://u:secret@h:2/v1", minutes=3.0, speed=True)
    assert one.command() == (
        "braidcheck gate --engine http://h:1/v1 --model-name m --against-engine http://h:2/v1 --minutes 3 --speed"
    )
    assert one.base.engine == "http://u:secret@h:2/v1"


def test_an_engine_is_timed_where_it_is_asked_for():
    assert [asked("e", **more).timed for more in ({}, {"speed": True}, {"against": "f"})] == [False, True, True]
    assert asked("e", against="run.json").base is asked("e").base is None
    assert asked("e", against="f", against_python="p").base.python == "p"


def test_what_is_no_earlier_run_of_this_machine_is_refused(tmp_path):
    run = Run(environment.fingerprint() | {"processor": "another"}, (), ())
    (tmp_path / "other.json").write_text(run.to_json(), encoding="utf-8")
    (tmp_path / "text.json").write_text("{}", encoding="utf-8")
    for name, said in (("none", "FileNotFound"), ("text", "cannot be read"), ("other", "another machine")):
        with pytest.raises(UserError, match=said):
            engine_gate._earlier(asked("e", against=str(tmp_path / f"{name}.json")))


def test_timing_an_engine_needs_one(capsys):
    assert main(["gate", "--speed"]) == main(["gate", "--against-engine", "e.py:f"]) == 2
    assert "time your own engine: give --engine" in capsys.readouterr().err


BUSY = """
    import os, time
    from pathlib import Path
    from tests.engines.bad_engines import Table

    class Busy(Table):
        calls = 0

        def prefill(self, ids):
            self.calls += 1
            if self.calls > 1:  # in the second cell: the fourth waits for HF's answer to 4,096 tokens
                Path("busy").write_text(str(os.getpid()))
                time.sleep(600)
            return super().prefill(ids)
"""
DRIVER = """
    import sys
    from braidcheck import __main__, autosave
    autosave.INTERVAL_S = 0
    sys.exit(__main__.main())
"""


@pytest.mark.parametrize(
    ("sent", "job"),
    [(signal.SIGTERM, True), (signal.SIGKILL, False)],
    ids=["SIGTERM to all processes", "SIGKILL to the command"],
)
@pytest.mark.usefixtures("fresh_python")
def test_a_signal_keeps_the_verdicts_and_ends_the_engine(sent, job, tmp_path):
    (tmp_path / "engine.py").write_text(textwrap.dedent(BUSY), encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(PAGE.parents[1]), "TMPDIR": str(tmp_path)}
    words = [sys.executable, "-c", textwrap.dedent(DRIVER), "gate", "--engine", "engine.py:Busy", "--out", "out"]
    child = subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    busy = tmp_path / "busy"
    while not (busy.exists() and busy.read_text()):
        assert child.poll() is None, child.communicate()
        time.sleep(0.05)
    engine = busy.read_text()
    for number in (*([int(engine)] if job else []), child.pid):
        os.kill(number, sent)
    out, err = child.communicate()
    while alive(engine):
        assert sent == signal.SIGKILL  # else the command waits for it
        time.sleep(0.02)
    assert "Traceback" not in err
    kept = Run.from_json(
        (tmp_path / "out" / ("run.json" if sent == signal.SIGTERM else "partial-run.json")).read_text()
    )
    assert kept.environment["interrupted"] is True
    assert kept.environment["engine"]["methods"] == ["generate", "prefill"]
    assert kept.verdicts
    assert kept.missing
    assert not [one for one in kept.verdicts if "ended (" in one.message]
    left = list(tmp_path.glob("braidcheck-*"))
    if sent == signal.SIGTERM:
        assert child.returncode == 130
        assert out.splitlines()[-1].startswith("INTERRUPTED")
        assert not left
        assert not list((tmp_path / "out").glob("partial*"))
    else:
        assert [one.name.endswith(scratch.SUFFIX) for one in left] == [True]
