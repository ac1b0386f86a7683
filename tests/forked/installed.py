"""Puts the forking ``python`` in the place of ``sys.executable``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from . import client

REAL = sys.executable


@contextmanager
def forked_python():
    """Within it ``sys.executable`` is a program whose processes are forked; gives the server's process."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "python")
        call = f"main({REAL!r}, {client.fixed(os.environ)!r})\n"
        program.write_text(f"#!{REAL} -IS\n{Path(client.__file__).read_text()}\n\n{call}")
        program.chmod(0o755)
        Path(folder, "python3").symlink_to(program.name)
        with _listening(folder, "socket") as plain, _listening(folder, "interpreting") as interpreting:
            server = _server(plain.fileno(), interpreting.fileno())
        with server:
            sys.executable = str(program)
            try:
                yield server
            finally:
                sys.executable = REAL
                server.stdin.close()


def _listening(folder, name):
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(Path(folder, name)))
    made.listen(64)
    return made


def _server(*numbers):
    command = [REAL, "-P", str(Path(__file__).with_name("server.py")), *map(str, numbers)]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=kept, pass_fds=numbers)
