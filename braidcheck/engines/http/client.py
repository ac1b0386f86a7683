"""JSON over HTTP with limits on time, size, tries, rate and connections. No message or exception contains the API
key."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from braidcheck.errors import NotAvailable, UserError

API_KEY_VARIABLE = "BRAIDCHECK_API_KEY"
RETRIED_STATUSES = (429, 500, 502, 503, 504)
MAX_EXCERPT_CHARACTERS = 160


class ServerError(NotAvailable):
    """A server that cannot be reached, gives an invalid answer, or does not answer in time."""


class RequestRefused(ServerError):
    """A request that the server refuses (status 4xx)."""


@dataclass(frozen=True)
class Limits:
    """Limits of one client: seconds and MiB of one answer, tries, seconds between them, requests in flight."""

    request_s: float = 60.0
    body_mib: float = 64.0
    retry_delays_s: tuple[float, ...] = (0.0, 0.5, 2.0)
    concurrent: int = 8
    requests_per_s: float = 500.0


@dataclass(frozen=True)
class Answer:
    """Status, content type and body of one exchange."""

    status: int
    kind: str
    body: bytes


class Client:
    """Requests to one server; thread-safe. Raises UserError for an invalid address or key. Redirects are not followed:
    the key goes only to the address that the user gave.
    """

    def __init__(self, url: str, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._https, self._host, self._port, self._base = _parse(url)
        self._key = _key()
        self._turn, self._next_start = threading.Lock(), 0.0
        self._connections = threading.local()

    @property
    def address(self) -> str:
        """The server's address, without a path."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._https else 'http'}://{host}:{self._port}"

    def get(self, path: str) -> Any:
        """The JSON value at ``path``, which begins below the user's URL; with "/" before it, at the server's root."""
        return self._json("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON value that answers ``body``; the request must be idempotent, since it is retried."""
        return self._json("POST", path, json.dumps(body).encode())

    def post_for_events(self, path: str, body: Mapping[str, Any]) -> list[Any]:
        """The JSON values of the stream of server-sent events that answers ``body``, once it has ended.

        Raises ServerError if there is none, such as for a page of HTML.
        """
        where, answer = self._read("POST", path, json.dumps(body).encode())
        lines = answer.body.decode(errors="replace").splitlines()
        data = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
        if not data:
            raise ServerError(f"{where} answers {answer.kind} with no event in it, not a stream: see the server's log")
        return [self._parsed(event, where, "an event") for event in data if event != "[DONE]"]

    def _json(self, method: str, path: str, body: bytes | None) -> Any:
        where, answer = self._read(method, path, body)
        return self._parsed(answer.body, where, answer.kind)

    def _read(self, method: str, path: str, body: bytes | None) -> tuple[str, Answer]:
        """The URL and its answer. Raises RequestRefused for status 4xx, ServerError for any other problem, each in one
        line.
        """
        path = path if path.startswith("/") else f"{self._base}/{path}"
        where = f"{self.address}{path}"
        answer = self._answer(method, path, body, where)
        if 300 <= answer.status < 400:
            raise ServerError(f"{where} redirects elsewhere, which is not followed: give the address of the API itself")
        if answer.status != 200:
            error = RequestRefused if 400 <= answer.status < 500 else ServerError
            message = self._excerpt(answer.body) or answer.kind
            raise error(f"{where} answers with status {answer.status}: {message}")
        return where, answer

    def _parsed(self, text: bytes | str, where: str, kind: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ServerError(f"{where} answers {kind}, not JSON: give the server's API address, as .../v1") from None

    def _answer(self, method: str, path: str, body: bytes | None, where: str) -> Answer:
        """The first answer that a retry would not improve, or the last one."""
        for delay in (*self.limits.retry_delays_s, None):
            try:
                answer = self._exchange(method, path, body, where)
                if answer.status not in RETRIED_STATUSES or delay is None:
                    return answer
            except TimeoutError:
                message = f"{where} gives no complete answer within {self.limits.request_s:g} s"
                raise ServerError(f"{message}: is the server overloaded?") from None
            except (OSError, http.client.HTTPException, ValueError) as problem:
                if delay is None:
                    raise ServerError(f"{where} does not answer: {_reason(problem)}; is the server up?") from None
            time.sleep(delay)
        raise AssertionError("the last try returns or raises")

    def _exchange(self, method: str, path: str, body: bytes | None, where: str) -> Answer:
        """One request and its answer, read to the end within the limits of time and size."""
        self._wait_for_turn()
        connection, late = self._connection(), threading.Event()
        # Keep the socket itself: the connection drops it if the answer ends with the connection.
        watchdog = threading.Timer(self.limits.request_s, _interrupt, [connection.sock, late])
        watchdog.start()
        try:
            connection.request(method, path, body, self._headers())
            response = connection.getresponse()
            most = int(self.limits.body_mib * 2**20)
            data = response.read(most + 1)
            if len(data) > most:
                raise ServerError(f"{where} answers more than {self.limits.body_mib:g} MiB: is it a model's API?")
        except BaseException:
            connection.close()
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            watchdog.cancel()
        if late.is_set():  # a socket that is shut down reads as the end of the body
            raise TimeoutError
        kind = response.getheader("Content-Type", "no content type").split(";")[0]
        return Answer(response.status, kind, data)

    def _wait_for_turn(self) -> None:
        with self._turn:
            start = max(time.monotonic(), self._next_start)
            self._next_start = start + 1 / self.limits.requests_per_s
        time.sleep(max(0.0, start - time.monotonic()))

    def _connection(self) -> http.client.HTTPConnection:
        """This thread's connection, which stays open between requests."""
        if not hasattr(self._connections, "open"):
            kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
            self._connections.open = kind(self._host, self._port, timeout=self.limits.request_s)
        connection = self._connections.open
        if connection.sock is None:
            connection.connect()
        return connection

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        return headers | ({"Authorization": f"Bearer {self._key}"} if self._key else {})

    def _excerpt(self, body: bytes) -> str:
        """What an error's body says, in one line and without the key; empty if it is HTML or the like."""
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return ""
        while isinstance(value, dict):
            value = next((value[name] for name in ("error", "message", "detail") if name in value), str(value))
        text = "".join(letter if letter.isprintable() else " " for letter in str(value))
        return (text.replace(self._key, "***") if self._key else text)[:MAX_EXCERPT_CHARACTERS]


def _parse(url: str) -> tuple[bool, str, int, str]:
    """Whether it is https, host, port and path of the user's URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise UserError("--engine is not a URL: give one such as http://127.0.0.1:8000/v1") from None
    if parts.username or parts.password:
        raise UserError(f"--engine holds a name or a password: put the API key into {API_KEY_VARIABLE} instead")
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or not plain:
        raise UserError("--engine is not the address of an API: give one such as http://127.0.0.1:8000/v1")
    return parts.scheme == "https", parts.hostname, port, parts.path.rstrip("/")


def _key() -> str:
    key = os.environ.get(API_KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(f"{API_KEY_VARIABLE} is not a valid API key: it has spaces, line ends or non-ASCII letters")
    return key


def _interrupt(open_socket: socket.socket, late: threading.Event) -> None:
    """End an exchange that takes too long, even if bytes still trickle in."""
    late.set()
    with suppress(OSError):  # it may just have ended by itself
        open_socket.shutdown(socket.SHUT_RDWR)


def _reason(problem: BaseException) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return type(problem).__name__
