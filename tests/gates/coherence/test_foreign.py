"""Evidence of a user's engine: whole, of a server's best alone, of tokens alone, and where it ends."""

import pytest
import torch

from braidcheck.engines.client import Client
from braidcheck.gates.coherence import evaluate
from braidcheck.gates.coherence.foreign import measure_foreign
from braidcheck.golden.resolve import resolve
from braidcheck.golden.subset import shortest
from braidcheck.result import Status
from tests.engines.tiny import Local

TAIL = -40.0


class Recalls:
    """The golden's own float32 logits: those of the best, and all others alike."""

    def __init__(self, golden):
        self.documents = [golden.document(number) for number in range(len(golden))]
        self.vocab = self.documents[0].truth.full.shape[-1]

    def prefill(self, ids):
        document = next(d for d in self.documents if d.ids[: len(ids)].tolist()[:8] == ids[:8])
        others = (document.truth.tail - torch.tensor(self.vocab - 64.0).log())[:, None].expand(-1, self.vocab)
        logits = others.scatter(1, document.top_ids, document.truth.top)
        logits = logits.clone()
        logits[document.samples.full] = document.truth.full
        return logits[: len(ids)]


class Best(Recalls):
    def prefill(self, ids):
        logits = super().prefill(ids).log_softmax(-1).topk(5)
        return type("Top", (), {"ids": logits.indices.tolist(), "logprobs": logits.values.tolist()})


class Ends(Recalls):
    def prefill(self, ids):
        raise RuntimeError("out of pages")


@pytest.fixture(scope="module")
def golden():
    return shortest(resolve()[1], 1700, 0, 0)


def verdicts(engine, golden):
    client = Client(lambda: Local(engine(golden)), 1024)
    made = evaluate(measure_foreign(client, "e", golden))
    return {verdict.subject.removeprefix("e on nano: "): verdict for verdict in made}


def test_an_engine_in_float32_is_not_taken_for_the_golden(golden):
    said = verdicts(Recalls, golden)
    assert {said[name].status for name in ("kl", "nll", "logits", "flips", "recall")} == {Status.PASS}
    assert said["hidden"].message == "the engine gives no hidden states"
    assert said["continuation"].message == "the engine gives no greedy answers (it has no generate)"


def test_a_servers_best_give_kl_and_flips(golden):
    said = verdicts(Best, golden)
    assert {said[name].status for name in ("kl", "flips", "recall")} == {Status.PASS}
    assert said["logits"].message == "the engine gives only its best log-probabilities"


def test_an_engine_that_ends_is_an_error_of_each_check_that_needs_it(golden):
    said = verdicts(Ends, golden)
    assert said["kl"].status == said["causality"].status == Status.ERROR
    assert said["kl"].message == "the engine raised out of pages"
