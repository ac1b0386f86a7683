"""The client's bounds: whatever a server does ends in one line, soon, without the key."""

import pytest

from braidcheck.engines.http.client import Client, Limits, RequestRefused, ServerError
from braidcheck.errors import UserError
from tests.engines.http.stand_in import StandIn

SMALL = Limits(body_mib=0.25, retry_delays_s=(0.0,))
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server():
    with StandIn("vllm") as server:
        yield server


def refusal(server, fault, limits=SMALL):
    server.fault = fault
    with pytest.raises(ServerError) as error:
        Client(server.url, limits).post("completions", {"model": "tiny", "prompt": [[1, 2]], "max_tokens": 1})
    assert "\n" not in str(error.value)
    assert KEY not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("html", "answers text/html, not JSON"),
        ("500", "status 500: out of memory"),
        ("redirect", "redirects elsewhere"),
        ("endless", "more than 0.25 MiB"),
        ("cut", "not JSON"),
        ("closed", "does not answer"),
    ],
)
def test_a_server_in_trouble_is_one_line(server, fault, said):
    assert said in refusal(server, fault)


@pytest.mark.parametrize("fault", ["slow", "drip"])
def test_a_slow_answer_ends_at_the_limit_and_is_not_asked_again(server, fault):
    message = refusal(server, fault, Limits(request_s=0.2, retry_delays_s=(0.0, 0.0)))
    assert "no complete answer within 0.2 s" in message
    assert len(server.requests) == 1


def test_what_may_pass_is_asked_again(server):
    server.fault = "500 once"
    client = Client(server.url, SMALL)
    assert client.post("completions", {"prompt": [[1, 2]], "max_tokens": 1, "temperature": 0})["model"] == "tiny"
    assert len(server.requests) == 2


def test_tries_are_bounded(server):
    refusal(server, "500", Limits(retry_delays_s=(0.0, 0.0)))
    assert len(server.requests) == 3


def test_a_redirect_is_not_followed_and_its_address_not_repeated(server):
    assert "192.0.2.1" not in refusal(server, "redirect")


def test_nothing_listens():
    with StandIn("vllm") as server:
        url = server.url
    with pytest.raises(ServerError, match=r"does not answer: Connection refused; is the server up\?$"):
        Client(url, SMALL).get("models")


def test_the_key_is_sent_and_never_said(server, monkeypatch):
    monkeypatch.setenv("BRAIDCHECK_API_KEY", KEY)
    message = refusal(server, "unauthorized")
    assert message.endswith("status 401: no such key: Bearer ***")
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"


def test_a_refusal_is_told_from_trouble(server):
    server.fault = "unauthorized"
    with pytest.raises(RequestRefused):
        Client(server.url, SMALL).post("completions", {})


@pytest.mark.parametrize("key", [f"{KEY}\nX-Other: 1", f"{KEY} {KEY}", f"{KEY}é"])
def test_a_key_that_is_none_is_refused_without_saying_it(key, monkeypatch):
    monkeypatch.setenv("BRAIDCHECK_API_KEY", key)
    with pytest.raises(UserError) as error:
        Client("http://127.0.0.1:9/v1")
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://127.0.0.1/v1", "http:///v1", "http://127.0.0.1:99999/v1", "http://127.0.0.1/v1?key=secret"),
        *("http://user:secret@127.0.0.1/v1", "http://127.0.0.1/a b", "http://127.0.0.1/\r\nHost: x", "http://[::1/v1"),
    ],
)
def test_an_address_that_is_none_is_refused_without_repeating_it(url):
    with pytest.raises(UserError) as error:
        Client(url)
    assert "secret" not in str(error.value)


def test_ipv6_and_https_addresses_are_read():
    assert Client("http://[::1]:8000/v1/").address == "http://[::1]:8000"
    assert Client("https://example.org/v1").address == "https://example.org:443"
