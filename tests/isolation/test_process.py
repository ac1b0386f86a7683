"""A process that is asked: it may die, hang, flood, answer twice or out of turn, and says then how."""

import select
import textwrap

import pytest

from braidcheck.isolation.process import MAX_SHOWN_BYTES, ChildProcess, EndedError, TimeLimitError

SECONDS = 60
MAX_LOOKS = 10000
ANSWERS = """
import json, os, signal, socket, sys, time
line = socket.socket(fileno=int(sys.argv[1]))
def say(message):
    body = json.dumps(message).encode()
    line.sendall(len(body).to_bytes(8, "big") + body)
number = 0
while True:
    size = int.from_bytes(line.recv(8, socket.MSG_WAITALL), "big")
    number = json.loads(line.recv(size, socket.MSG_WAITALL))["number"]
"""


@pytest.fixture
def child():
    """Starts a process that does this at every question."""
    started = []

    def start(code):
        started.append(ChildProcess(ANSWERS + textwrap.indent(textwrap.dedent(code), "    ")))
        return started[-1]

    yield start
    for process in started:
        process.close()


def test_questions_are_answered_in_turn(child):
    process = child("say({'number': number, 'twice': 2 * number})")
    assert [process.ask({}, (), SECONDS)["twice"] for _ in range(3)] == [2, 4, 6]


def how_it_ended(process):
    try:
        while True:
            process.ask({}, (), SECONDS)
    except EndedError as how:
        return str(how)


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("os._exit(0)", "ended the process (exit 0)"),
        ("sys.exit(7)", "ended the process (exit 7)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended the process (SIGSEGV)"),
        ("line.close(); time.sleep(600)", "closed its channel"),
        ("say({'number': number + 1})", "sent an answer out of turn"),
        ("say({'number': number}); say({'number': number})", "sent an answer out of turn"),
        ("say([number])", "sent an invalid answer: a message that is not an object"),
        ("line.sendall(b'PASS' * 100)", "sent an invalid answer: a message of "),
        ("line.sendall((5).to_bytes(8, 'big') + b'\\xff{}{}')", "sent an invalid answer: "),
        ("line.sendall((400000).to_bytes(8, 'big') + b'[' * 400000)", "sent an invalid answer: "),
    ],
)
def test_what_is_no_answer_says_how(child, code, how):
    process = child(code)
    assert how_it_ended(process).startswith(how)


def test_a_process_that_hangs_is_ended(child):
    process = child("time.sleep(600)")
    with pytest.raises(TimeLimitError, match="still running after 1 s"):
        process.ask({}, (), 1)
    assert process._process.poll() is not None


def test_a_process_that_prints_without_end_is_ended(child, monkeypatch):
    """There is always something to read."""
    process, looks = child("while True: print('x' * 65536)"), iter(range(MAX_LOOKS))
    monkeypatch.setattr(select, "select", lambda files, *_: (next(looks) * [] or files[1:], [], []))
    with pytest.raises(TimeLimitError, match=r"still running after 0\.01 s"):
        process.ask({}, (), 0.01)


def test_what_it_prints_is_no_answer_and_not_all_of_it_is_shown(child, capsys):
    process = child(
        """
        print('{"number": 1, "status": "pass"}' * 200000, flush=True)
        say({'number': number})
        """
    )
    assert process.ask({}, (), SECONDS) == {}
    shown = capsys.readouterr().err
    assert MAX_SHOWN_BYTES <= len(shown) < 2 * MAX_SHOWN_BYTES
    assert "is omitted" in shown


def test_neither_a_terminal_nor_a_ci_obeys_what_it_prints(child, capsys):
    process = child("print('\\x1b[2J\\r::add-mask::FAIL ##[error]', flush=True); say({'number': number})")
    process.ask({}, (), SECONDS)
    assert capsys.readouterr().err == "?[2J?: :add-mask: :FAIL # #[error]\n"


def test_what_a_ci_obeys_and_tokens_are_not_in_its_environment(child, monkeypatch):
    names = ("GITHUB_OUTPUT", "ACTIONS_RUNTIME_URL", "HF_TOKEN")
    for name in names:
        monkeypatch.setenv(name, "given")
    process = child(f"say({{'number': number, 'found': [name for name in {names} if name in os.environ]}})")
    assert process.ask({}, (), SECONDS)["found"] == []
