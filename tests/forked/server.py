"""Forks a child for each request of ``client.py``, from a process that has imported what is slow to import.

It imports nothing of the package: each child imports what its own path says. Triton reads the environment when it is
imported: those that are to interpret have a server of their own, which the first of them starts.
"""

from __future__ import annotations

import atexit
import builtins
import fcntl
import gc
import importlib
import io
import marshal
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import types
import weakref
from contextlib import suppress

WARM = (  # not xdist, which keeps the path that it finds when it is imported, nor what pytest rewrites
    "numpy", "torch", "torch.overrides", "safetensors.torch", "typer", "typer.rich_utils", "rich.console", "rich.live",
    "pytest", "_pytest.terminal", "_pytest.junitxml", "_pytest.pytester", "_pytest.assertion.rewrite", "execnet",
    "multiprocessing.spawn", "concurrent.futures.thread", "sqlite3", "email.parser", "importlib.metadata", "tomllib",
)  # fmt: skip
INTERPRETING = ("triton", "triton.runtime.interpreter", "transformers.models.qwen3.modeling_qwen3")
HIGH = 512  # from here on are a child's files until they have their own numbers
MAX_FILES = 250
BASE = [*sys.path]


class Server:
    """The requests that are being served: a line to each client, and its child."""

    def __init__(self, listening, interpreting=None):
        self.listening, self.interpreting = listening, interpreting
        self.lines, self.ends = {}, {}  # the child of each client's line; the line of each child's file
        self.warm = False

    def serve(self):
        """Until the standard input ends; then end all children."""
        while True:
            waiting = [self.interpreting] if self.interpreting else []
            ready, _, _ = select.select([0, self.listening, *waiting, *self.lines, *self.ends], [], [])
            if 0 in ready:
                for child in self.lines.values():
                    stop(child, signal.SIGKILL)
                return
            for file in ready:
                if file is self.listening:
                    self.start(self.listening.accept()[0])
                elif file is self.interpreting:
                    self.start_interpreting()
                elif file in self.ends:
                    self.tell(file)
                elif file in self.lines:
                    self.hear(file)

    def start(self, line):
        """Fork a child for the request that comes on ``line``."""
        try:
            asked, files = received(line)
        except (EOFError, OSError):
            return line.close()
        self.warm_up()
        child = os.fork()
        if child == 0:
            guarded(asked, files)
        for file in files:
            os.close(file)
        self.lines[line] = child
        self.ends[os.pidfd_open(child)] = line
        return None

    def start_interpreting(self):
        """Fork the server of those that interpret."""
        self.warm_up()
        if os.fork() == 0:
            for line in (self.listening, *self.lines):
                line.close()
            for file in self.ends:
                os.close(file)
            os.environ["TRITON_INTERPRET"] = "1"
            warm_up(INTERPRETING)
            server = Server(self.interpreting)
            server.warm = True
            server.serve()
            os._exit(0)
        self.interpreting = None

    def warm_up(self):
        """Import what children share, before the first."""
        if not self.warm:
            warm_up(WARM)
            assert "triton" not in sys.modules
            self.warm = True

    def tell(self, file):
        """Tell a client how its child ended."""
        line = self.ends.pop(file)
        os.close(file)
        code = os.waitstatus_to_exitcode(os.waitpid(self.lines.pop(line), 0)[1])
        with suppress(OSError):
            line.sendall(code.to_bytes(4, "big", signed=True))
        line.close()

    def hear(self, line):
        """Pass on a signal; where the client has ended it was killed."""
        try:
            numbers = line.recv(64)
        except ConnectionResetError:
            numbers = b""
        for number in numbers or [signal.SIGKILL]:
            stop(self.lines[line], number)
        if not numbers:
            file = next(file for file, each in self.ends.items() if each is line)
            self.tell(file)


def received(line):
    """A request and the files that came with it. Raises EOFError where the client ended first."""
    head, files, _, _ = socket.recv_fds(line, 8, MAX_FILES)
    body, size = b"", int.from_bytes(head, "big")
    while head and len(body) < size:
        part = line.recv(size - len(body))
        if not part:
            raise EOFError
        body += part
    if not head:
        raise EOFError
    return marshal.loads(body), files


def warm_up(names):
    """Import modules that are here; nothing of them is looked at by the garbage collection of children."""
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)
    assert not any(name.split(".")[0] == "braidcheck" for name in sys.modules)
    assert threading.active_count() == 1
    for finalizer in list(weakref.finalize._registry):
        finalizer.atexit = False  # torch's: each child would copy 30 MB to take its operators apart, and then end
    gc.collect()
    gc.freeze()


def stop(child, number):
    """Send a signal to the child and what is in its group."""
    with suppress(ProcessLookupError):
        os.killpg(child, number)


def guarded(asked, files):
    """Run a request and end this process, whatever happens: a child never returns into the server's loop."""
    code = 70
    try:
        prepare(asked, files)
        code = finished(lambda: execute(*asked["words"][1:]))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def prepare(asked, files):
    """Make this process what a fresh one would be: session, files, folder, environment and path."""
    os.setsid()
    high = [fcntl.fcntl(file, fcntl.F_DUPFD, HIGH) for file in files]
    os.closerange(0, HIGH)
    for file, number in zip(high, asked["files"], strict=True):
        os.dup2(file, number)
        os.close(file)
    for number in asked["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    os.umask(asked["mask"])
    os.chdir(asked["folder"])
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ.clear()
    os.environ.update(asked["environment"])
    if (wanted := os.environ.get("OMP_NUM_THREADS")) != threads:
        sys.modules["torch"].set_num_threads(int(wanted or os.cpu_count()))
    sys.modules["numpy"].random.seed()
    sys.executable = asked["executable"]
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.pycache_prefix = os.environ.get("PYTHONPYCACHEPREFIX")
    options, kind, name, arguments = asked["words"]
    sys.argv = [kind if kind else name, *arguments]
    safe = "-P" in options or os.environ.get("PYTHONSAFEPATH")
    first = {"-c": "", "-m": os.getcwd(), "": os.path.dirname(os.path.abspath(name))}[kind]
    given = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    sys.path[:] = [*([] if safe else [first]), *map(os.path.abspath, given), *BASE]
    importlib.invalidate_caches()
    streams("-u" in options or bool(os.environ.get("PYTHONUNBUFFERED")))


def streams(unbuffered):
    """New standard streams on the files that the client has; None for those that it lacks."""
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        try:
            raw = io.FileIO(number, mode, closefd=False)
        except OSError:
            stream = None
        else:
            buffer = io.BufferedReader(raw) if mode == "r" else raw if unbuffered else io.BufferedWriter(raw)
            errors = "backslashreplace" if number == 2 else "strict"
            prompt = number == 2 or raw.isatty()
            stream = io.TextIOWrapper(
                buffer, "utf-8", errors, line_buffering=prompt, write_through=unbuffered and mode == "w"
            )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def execute(kind, name, _arguments):
    """What Python does with "-c CODE", "-m MODULE" or a file."""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__builtins__ = builtins
    if kind == "-m":
        runpy._run_module_as_main(name)
        return
    if kind == "-c":
        code = compile(name, "<string>", "exec")
    else:
        main.__file__ = name
        with io.open_code(os.path.abspath(name)) as file:
            code = compile(file.read(), name, "exec")
    exec(code, main.__dict__)


def finished(work):
    """The exit code of ``work``, after what Python does at its end."""
    code = 0
    try:
        work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if error.code is not None and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush() if stream else None
        except OSError as error:
            print(f"Exception ignored on flushing: {error}", file=sys.stderr) if stream is sys.stdout else None
            code = code or 120
    return code & 0xFF


if __name__ == "__main__":
    Server(*(socket.socket(fileno=int(number)) for number in sys.argv[1:])).serve()
