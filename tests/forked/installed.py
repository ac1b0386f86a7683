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
        program, path = Path(folder, "python"), Path(folder, "socket")
        call = f"main({REAL!r}, {client.fixed(os.environ)!r})\n"
        program.write_text(f"#!{REAL} -IS\n{Path(client.__file__).read_text()}\n\n{call}")
        program.chmod(0o755)
        Path(folder, "python3").symlink_to(program.name)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen(64)
            server = _server(listening.fileno())
        with server:
            sys.executable = str(program)
            try:
                yield server
            finally:
                sys.executable = REAL
                server.stdin.close()


def _server(listening):
    command = [REAL, "-P", str(Path(__file__).with_name("server.py")), str(listening)]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=kept, pass_fds=(listening,))
