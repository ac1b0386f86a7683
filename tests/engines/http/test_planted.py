"""Faults of engines behind a server are found as those of engines in a process are; a right one passes."""

import json

import pytest

from braidcheck.engines.http import connect
from braidcheck.engines.http.client import Limits
from braidcheck.gates import surfaces
from braidcheck.gates.samplers.stops import measure_stops
from braidcheck.gates.surfaces import SEPARATING, measure
from braidcheck.result import Status
from tests.engines import tiny, wrong_requests, wrong_stops
from tests.engines.http.stand_in import MODEL, StandIn

ANOTHER = "second request, shorter than the first"
STOPS = ("stop tokens", "stop tokens in a batch")
CELLS = (ANOTHER, "batch of 2, ragged", "batch of 8, ragged", *STOPS, "streaming")


@pytest.fixture
def found(tmp_path, monkeypatch):
    """``found(dialect, make)``: what the surfaces gate says of a server of the engine that ``make()`` gives."""
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": tiny.VOCAB}))
    chosen = [cell for cell in measure.all_cells() if cell[0] in CELLS]
    assert len(chosen) == len(CELLS)
    monkeypatch.setattr(measure, "all_cells", lambda: chosen)

    def evaluate(dialect, make, fault=""):
        with StandIn(dialect, make) as server:
            server.fault = fault
            evidence = tiny.measured(lambda stop=None: connect(server.url, MODEL, str(tmp_path), Limits()))
        return {verdict.subject.rpartition(": ")[2]: verdict for verdict in surfaces.evaluate(evidence, [])}

    return evaluate


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_a_right_server_passes(found, dialect):
    verdicts = found(dialect, tiny.Right)
    skipped = {"streaming"} if dialect == "sglang" else set()
    assert {name for name, verdict in verdicts.items() if verdict.status == Status.SKIPPED} == skipped
    assert {verdict.status for verdict in verdicts.values()} <= {Status.PASS, Status.SKIPPED}


@pytest.mark.parametrize(
    ("fault", "cell"),
    [
        (wrong_requests.StaleCache, ANOTHER),
        (wrong_requests.RowZero, "batch of 2, ragged"),
        (wrong_requests.Padded, "batch of 8, ragged"),
        (wrong_requests.Permuted, "batch of 8, ragged"),
        (wrong_stops.NeverStops, "stop tokens"),
        (wrong_requests.StreamsLate, "streaming"),
    ],
)
def test_a_faulty_server_fails_where_it_is_wrong(found, fault, cell):
    assert found("vllm", fault)[cell].status == Status.FAIL


AT_STOPS = "where a stop token ends an answer"
STOP_FAULTS = {
    "stop ignored": AT_STOPS,
    "stop cut": AT_STOPS,
    "another stop": AT_STOPS,
    "first stop": AT_STOPS,
    "stop of the request before": AT_STOPS,
    "stops of all requests": "after a request with other stop tokens",
}


@pytest.mark.parametrize("fault", STOP_FAULTS)
@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_a_server_that_stops_elsewhere_fails_at_stop_tokens_alone(found, dialect, fault):
    verdicts = found(dialect, tiny.Right, fault)
    failed = {name for name, verdict in verdicts.items() if verdict.status == Status.FAIL}
    assert failed == {*STOPS, SEPARATING}
    assert STOP_FAULTS[fault] in verdicts[SEPARATING].message


@pytest.mark.parametrize("fault", ["", *(fault for fault in STOP_FAULTS if fault != "first stop")])
@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_drawn_answers_end_where_a_server_is_told_to(tmp_path, dialect, fault):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": tiny.VOCAB}))
    prompts = [text.ids[:12].tolist() for text in tiny.texts()]
    with StandIn(dialect, tiny.Right) as server:
        server.fault = fault
        client = tiny.client(lambda: connect(server.url, MODEL, str(tmp_path), Limits()))
        draws = measure_stops(client, None, prompts, (tiny.STOP,), 16)
    assert bool(draws["outside"]) == bool(fault), draws
