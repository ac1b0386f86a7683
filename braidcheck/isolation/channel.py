"""Messages between two processes: JSON objects and file descriptors over a Unix socket (standard library only).

Nothing is unpickled: reading a message never runs code of its writer.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

HEAD_BYTES = 8  # the length of the payload
MAX_BYTES = 1 << 26
MAX_FDS = 64

Message = dict[str, Any]


def send(channel: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message. Raises OSError if the other end is closed."""
    body = json.dumps(message).encode()
    socket.send_fds(channel, [len(body).to_bytes(HEAD_BYTES, "big")], fds)
    channel.sendall(body)


def receive(channel: socket.socket) -> tuple[Message, list[int]]:
    """Wait for the next message and its file descriptors. Raises EOFError if the channel is closed."""
    head, fds, _, _ = socket.recv_fds(channel, HEAD_BYTES, MAX_FDS)
    head += _exactly(channel, HEAD_BYTES - len(head)) if head else b""
    if not head:
        raise EOFError
    return json.loads(_exactly(channel, int.from_bytes(head, "big"))), list(fds)


def _exactly(channel: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        if not (part := channel.recv(count - len(received))):
            raise EOFError
        received += part
    return received


def complete(text: bytes) -> tuple[Message | None, bytes]:
    """The first complete message of the received bytes, and the rest. Raises ValueError for an invalid message."""
    if len(text) < HEAD_BYTES:
        return None, text
    end = HEAD_BYTES + int.from_bytes(text[:HEAD_BYTES], "big")
    if end > MAX_BYTES:
        raise ValueError(f"a message of {end} bytes, at most {MAX_BYTES} are read")
    if len(text) < end:
        return None, text
    try:
        message = json.loads(text[HEAD_BYTES:end])
    except RecursionError:
        raise ValueError("a message nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("a message that is not an object")
    return message, text[end:]
