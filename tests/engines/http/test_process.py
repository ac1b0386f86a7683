"""A server as the gates see it: through an engine's process, from the address on the command line."""

import json

import pytest

from braidcheck.engines import specs
from braidcheck.engines.client import Client
from braidcheck.engines.process import EngineError, EngineProcess
from tests.engines.http.stand_in import MODEL, VOCABULARY, Bigram, StandIn, log_softmax

KEY = "sk-very-secret-0123456789"
IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def test_a_server_is_an_engine_that_survives_its_trouble(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIDCHECK_API_KEY", KEY)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": VOCABULARY}))
    with StandIn("vllm") as server:
        launch = specs.parse(server.url, tmp_path, "", 60, 0, MODEL)
        client = Client(lambda: EngineProcess(launch), VOCABULARY)
        try:
            assert client.methods >= {"prefill", "prefill_batch", "generate", "generate_batch", "sample", "stream"}
            assert client.claims["concurrency"] > 1
            found = client.prefill(IDS)
            for row, ids, values in zip(
                Bigram().prefill(IDS), found.ids.tolist(), found.logprobs.tolist(), strict=True
            ):
                truth, shown = log_softmax(row), sum(token >= 0 for token in ids)  # rows are padded by -1
                assert shown >= 20
                assert values[:shown] == pytest.approx([truth[token] for token in ids[:shown]], rel=2**-24)
            server.fault = "unauthorized"
            with pytest.raises(EngineError, match=r"status 401: no such key: Bearer \*\*\*$") as error:
                client.prefill(IDS)
            assert KEY not in str(error.value)
            server.fault = ""
            assert len(client.generate_together([IDS, IDS[:2]], [2, 3])) == 2
            assert client.starts == 1
        finally:
            client.close()
    assert server.requests[-1][1]["Authorization"] == f"Bearer {KEY}"
