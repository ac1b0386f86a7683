"""A forked process is what a fresh one would be: words, files, folder, environment, signals and how it ends."""

import os
import signal
import subprocess
import sys

import pytest

from tests.forked.installed import REAL

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")
FORKED = "import sys; print('torch' in sys.modules)"
SLEEPS = "import time; print('here', flush=True); time.sleep(600)"


def python(*words, **more):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, **more)


def test_it_is_forked_from_what_has_imported_torch_and_not_where_the_interpreter_is_asked_for():
    assert python("-c", FORKED).stdout == "True\n"
    assert subprocess.run([REAL, "-c", FORKED], capture_output=True, check=True).stdout == b"False\n"


def test_those_that_interpret_have_imported_triton_as_what_interprets():
    code = "import sys, triton; print('transformers' in sys.modules, type(triton.language.standard.cdiv).__name__)"
    kinds = {}
    for value in ("1", ""):
        environment = {name: text for name, text in os.environ.items() if name != "TRITON_INTERPRET"}
        environment |= {"TRITON_INTERPRET": value} if value else {}
        kinds[value] = python("-c", code, env=environment).stdout.split()
    assert kinds["1"] == ["True", "InterpretedFunction"]
    assert kinds[""][0] == "False"
    assert kinds[""][1] != "InterpretedFunction"


@pytest.mark.parametrize(("words", "more"), [(("-I",), {}), ((), {"env": os.environ | {"PYTHONHASHSEED": "3"}})])
def test_what_only_a_fresh_process_can_be_given_starts_one(words, more):
    assert python(*words, "-c", FORKED, **more).stdout == "False\n"


@pytest.mark.parametrize(
    ("code", "returned"),
    [
        ("", 0), ("import sys; sys.exit(7)", 7), ("import sys; sys.exit('why')", 1), ("1 / 0", 1),
        ("import os; os._exit(9)", 9), ("import os; os.kill(os.getpid(), 11)", -signal.SIGSEGV),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL), ("raise KeyboardInterrupt", -signal.SIGINT),
        ("import atexit; atexit.register(print, 'bye')", 0),
    ],
)  # fmt: skip
def test_it_ends_and_prints_as_a_fresh_one_does(code, returned):
    ended = [
        subprocess.run([program, "-c", code], capture_output=True, text=True, check=False)
        for program in (sys.executable, REAL)
    ]
    forked, fresh = [(done.returncode, done.stdout, done.stderr.split("\n")[-2:]) for done in ended]
    assert forked == fresh
    assert forked[0] == returned


def test_words_folder_path_and_environment_are_its_own(tmp_path):
    shows = (
        "import os, sys; print(__name__, sys.argv, os.getcwd(), os.environ['ONE'], sys.path[:3], 'HOME' in os.environ)"
    )
    (tmp_path / "shows.py").write_text(shows)
    environment = {"ONE": "1", "PYTHONPATH": "/some/where", "PATH": os.environ["PATH"]}
    fixed = {name: value for name, value in os.environ.items() if name.startswith("OMP_")}
    for words in (["-c", shows, "a", "-b"], ["-m", "shows", "a", "-b"], ["shows.py", "a"], ["-P", "-c", shows]):
        forked, fresh = (
            subprocess.run([program, *words], cwd=tmp_path, env=environment | fixed, capture_output=True, check=True)
            for program in (sys.executable, REAL)
        )
        assert forked.stdout == fresh.stdout
        assert forked.stderr == fresh.stderr == b""


def test_files_are_passed_under_their_numbers():
    ours, theirs = os.pipe()
    code = "import os, sys; os.write(int(sys.argv[1]), sys.stdin.read().encode())"
    done = python("-c", code, str(theirs), input="through", pass_fds=(theirs,))
    os.close(theirs)
    with open(ours) as file:
        assert (done.stderr, file.read()) == ("", "through")


def test_a_file_that_it_closes_is_open_nowhere():
    ours, theirs = os.pipe()
    code = "import os, sys, time; os.close(int(sys.argv[1])); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code, str(theirs)], pass_fds=(theirs,))
    os.close(theirs)
    assert os.read(ours, 1) == b""
    child.kill()
    child.wait()
    os.close(ours)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it(sent):
    child = subprocess.Popen([sys.executable, "-c", "import os; print(os.getpid(), flush=True);" + SLEEPS], stdout=-1)
    number = int(child.stdout.readline())
    child.stdout.readline()
    child.send_signal(sent)
    child.stdout.read()  # until it has ended, too: it held the other end
    assert child.wait() == -sent
    assert number != child.pid


def test_each_draws_its_own_random_numbers():
    code = "import random, numpy; print(random.random(), numpy.random.random())"
    assert len({part for _ in range(2) for part in python("-c", code).stdout.split()}) == 4
