"""A signal that ends a command: one line, exit code 130, and no process and no folder stays."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from braidcheck import environment, processes

pytestmark = pytest.mark.usefixtures("fresh_python")

HOLDING = """
    import subprocess, sys, time
    from pathlib import Path
    from braidcheck import __main__, cli, scratch

    def main():
        with scratch.Folder("test") as folder:
            child = subprocess.Popen(["sleep", "600"])
            Path(sys.argv[1]).write_text(f"{child.pid} {folder}")
            child.wait()
            time.sleep(600)

    cli.main = main
    sys.exit(__main__.main())
"""


@pytest.fixture
def start(tmp_path):
    """``start(code)``: a process that runs the code with a file, and the words that it writes there once it is busy, or
    to files with these ``ends`` of their names."""
    started = []

    def start(code, *before, ends=("",)):
        said = tmp_path / f"said-{len(started)}"
        env = os.environ | {"PYTHONPATH": str(environment.PACKAGE.parent), "TMPDIR": str(tmp_path)}
        words = [*before, sys.executable, "-c", textwrap.dedent(code), str(said)]
        process = subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True)
        started.append(process)
        files = [said.with_name(said.name + end) for end in ends]
        while not all(file.exists() and file.read_text() for file in files):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        return process, [word for file in files for word in file.read_text().split()]

    yield start
    for process in started:
        process.kill()
        process.wait()


def alive(process):
    """Whether a process runs: one that has ended, and that nobody has waited for, does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("sent", [(one,) for one in processes.ENDING] + [(signal.SIGINT, signal.SIGTERM)], ids=str)
def test_a_signal_ends_a_command_its_children_and_its_folders(start, sent):
    process, (child, folder) = start(HOLDING)
    assert Path(folder).is_dir()
    for number in sent:
        process.send_signal(number)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, "braidcheck: interrupted\n")
    assert not alive(child)
    assert not Path(folder).exists()


def test_nohup_keeps_its_meaning(start):
    code = HOLDING.replace("child.wait()", "os.kill(os.getpid(), 1); (folder / 'here').touch(); child.wait()")
    process, (_, folder) = start(code.replace("import ", "import os, ", 1), "nohup")
    while not Path(folder, "here").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 130


def test_an_interrupt_that_python_drops_does_not_disarm(start):
    process, _ = start("""
        import os, signal, sys, time
        from pathlib import Path
        from braidcheck import __main__, cli

        class Finalized:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0)  # where the handler runs

        def main():
            Finalized()
            Path(sys.argv[1]).write_text("busy")
            time.sleep(600)

        cli.main = main
        sys.exit(__main__.main())
    """)
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[1] == "braidcheck: interrupted\n"
    assert process.returncode == 130


def test_an_interrupt_ends_the_processes_that_share_the_cores(start):
    code = """
        import sys
        from braidcheck import __main__, cli
        from braidcheck.cli.parallel import together
        from tests.test_processes import busy

        cli.main = lambda: list(together(busy, [f"{sys.argv[1]}{number}" for number in range(9)], 2))
        sys.exit(__main__.main())
    """
    process, workers = start(code, ends="01")
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 130
    assert not any(map(alive, workers))


def busy(file):
    """Say which process this is, and do not end."""
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


def test_a_child_that_a_signal_ended_waits_for_our_own(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for code in (0, 1, -signal.SIGKILL, -signal.SIGSEGV):
        processes.wait_for_own_end(code)
    assert not slept
    for number in processes.ENDING:
        processes.wait_for_own_end(-number)
    assert slept == [processes.ORDER_S] * len(processes.ENDING)
