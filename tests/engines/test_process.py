"""An engine in its own process: what it does wrong is said in one line, and the next request has a new process."""

from pathlib import Path

import pytest
import torch

from braidcheck.engines import specs
from braidcheck.engines.client import MAX_STARTS, Client
from braidcheck.engines.process import EngineError, EngineGone, EngineProcess
from braidcheck.errors import UserError

FILE = Path(__file__).with_name("bad_engines.py")
pytestmark = pytest.mark.usefixtures("fresh_python")  # whose memory is measured, and no other's


def start(name, timeout_s=20.0, max_bytes=0, python=""):
    launch = specs.parse(f"{FILE}:{name}", Path("model"), python, timeout_s, max_bytes)
    return Client(lambda: EngineProcess(launch), 4)


def test_an_engine_answers_from_its_own_process():
    client = start("Table")
    assert client.methods == {"prefill", "generate"}
    assert client.claims["concurrency"] == 1
    assert client.prefill([0, 3]).tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert client.prefill([0, 3], range(1, 2)).dtype == torch.float32
    assert client.generate([2], 3) == [3, 0, 1]
    client.close()


def test_a_factory_may_take_no_directory():
    start("no_argument").close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "raised OSError: no weights in model"),
        ("leaves", "raised SystemExit: 3"),
        ("missing", "raised AttributeError: module 'engine_bad_engines' has no attribute 'missing'"),
    ],
)
def test_a_factory_that_fails_is_said_in_one_line(name, said):
    with pytest.raises(EngineGone) as error:
        start(name)
    assert str(error.value) == said


def test_a_factory_that_hangs_is_ended():
    with pytest.raises(EngineGone, match=r"gave no answer in 0.5 s \(--engine-timeout allows more\)"):
        start("hangs", timeout_s=0.5)


@pytest.mark.parametrize(
    ("name", "said", "limits"),
    [
        ("Dies", r"ended \(exit 7\): out of luck", {}),
        ("Hangs", "gave no answer in 1 s", {"timeout_s": 1.0}),
        ("Eats", "GiB of memory of 0.3", {"max_bytes": 300 << 20}),
        ("Forges", "sent an invalid reply", {}),
    ],
)
def test_an_engine_that_is_gone_is_started_again(name, said, limits):
    client = start(name, **limits)
    with pytest.raises(EngineGone, match=said):
        client.prefill([0])
    assert client.generate([1], 1) == [2]
    assert client.starts == 2
    client.close()


def test_an_engine_that_raises_goes_on():
    client = start("Raises")
    with pytest.raises(EngineError, match=r"^raised RuntimeError: the cache is full$"):
        client.prefill([0])
    assert client.generate([1], 1) == [2]
    assert client.starts == 1
    client.close()


def test_what_an_engine_prints_is_not_its_answer():
    client = start("Floods")
    assert client.prefill([0]).tolist() == [[0, 1, 0, 0]]
    client.close()


def test_an_engine_that_always_ends_is_asked_no_more():
    class Ends:
        def call(self, request):
            if request["call"] == "describe":
                return {"methods": ["prefill"], "stops": [], "claims": {}}, b""
            raise EngineGone("ended")

        def close(self):
            pass

    client = Client(Ends, 4)
    for _ in range(MAX_STARTS):
        with pytest.raises(EngineGone, match=r"^ended$"):
            client.prefill([0])
    with pytest.raises(EngineGone, match="was not called"):
        client.prefill([0])


def test_another_vocabulary_is_said():
    client = start("other_vocabulary")
    with pytest.raises(EngineError, match=r"gave logits \[2, 5\], \[2, 4\] were expected"):
        client.prefill([0, 1])
    client.close()


def test_a_python_that_is_none_is_a_usage_error():
    with pytest.raises(UserError, match=r"--engine-python /no/python cannot be run"):
        start("Table", python="/no/python")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nothing", "is not an engine"),
        ("ftp://host/v1", "is not an engine"),
        ("missing.py:f", "no file missing.py"),
        ("braidcheck.engines.nothing:f", "braidcheck has no adapter nothing; it has"),
    ],
)
def test_a_name_of_no_engine_is_a_usage_error(spec, said):
    with pytest.raises(UserError, match=said):
        specs.parse(spec, Path("model"), "", 1.0, 0)


def test_names_and_addresses_tell_no_password():
    assert specs.name_of("a/b/my_engine.py:make") == "my_engine"
    assert specs.name_of("braidcheck.engines.transformers:eager") == "transformers:eager"
    assert specs.name_of("http://user:secret@host:8000/v1") == "host:8000"
    assert specs.without_password("http://user:secret@host:8000/v1") == "http://host:8000/v1"
