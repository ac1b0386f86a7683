"""Runs as ``python``: what it is asked for runs in a child of the server, whose exit code or signal it ends with."""

import _socket
import marshal
import os
import signal
import sys

# The last two lines of this file are added where it is installed: REAL, the interpreter, and GIVEN, its environment.
# Read when Python or a library starts.
FIXED = (
    "LD_",
    "MKL_",
    "OPENBLAS_",
    "ATEN_",
    "ONEDNN_",
    "DNNL_",
    "HF_",
    "TRANSFORMERS_",
    "PYTHON",
)
FREE = (  # what the server sets up in a child
    "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX",
    "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",  # where they are not given they are OMP_NUM_THREADS
)  # fmt: skip
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def fixed(environment):
    """What of an environment a child can no longer be given."""
    return {name: value for name, value in environment.items() if name.startswith(FIXED) and name not in FREE}


def split(words):
    """Options, "-c", "-m" or "" for a file, what that names, and its arguments; None for what only Python knows."""
    options = set()
    while words and words[0] in ("-u", "-P"):
        options.add(words.pop(0))
    kind = words.pop(0) if words and words[0] in ("-c", "-m") else ""
    if not words or (words[0].startswith("-") and kind != "-c") or (not kind and not os.path.isfile(words[0])):
        return None
    return sorted(options), kind, words[0], words[1:]


def inherited():
    """The numbers of the files that this process was given."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:  # that of the listing itself
            pass
    return found


def ask(asked, files, path):
    """Send a request with open files. Raises OSError where nobody serves."""
    line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    line.connect(path)
    body = marshal.dumps(asked)
    numbers = b"".join(number.to_bytes(4, sys.byteorder) for number in files)
    line.sendmsg([len(body).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)])
    line.sendall(body)
    return line


def end(code):
    """End as a process that ended with this code, a signal's number where negative."""
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    os._exit(code)


def main(real, given):
    words = split(sys.argv[1:])
    if words is None or fixed(os.environ) != given:
        os.execv(real, [real, *sys.argv[1:]])
    mask = os.umask(0)
    ignored = [int(number) for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN]
    files = inherited()
    here = os.path.abspath(sys.argv[0])
    asked = {"words": words, "environment": dict(os.environ), "folder": os.getcwd(), "files": files, "mask": mask,
             "ignored": ignored, "executable": here}  # fmt: skip
    name = "interpreting" if os.environ.get("TRITON_INTERPRET") == "1" else "socket"
    line = ask(asked, files, os.path.join(os.path.dirname(here), name))
    for number in files:  # the child's are all that shall be open
        os.close(number)
    for number in SIGNALS:
        if number not in ignored:
            signal.signal(number, lambda number, frame: line.sendall(bytes([number])))
    said = line.recv(4)
    end(int.from_bytes(said, "big", signed=True) if said else -signal.SIGKILL)
