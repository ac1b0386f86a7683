"""Planted faults of engines: each is found, and the surface that separates is said; right engines pass."""

from functools import partial

import pytest
import torch

from braidcheck.gates.surfaces import batches, cells, evaluate
from braidcheck.result import Status
from tests.engines import tiny, wrong_requests, wrong_stops

FAULTS = {
    wrong_requests.ChunkOffset: "from position 64 on",
    wrong_requests.Truncated: "from position 64 on",
    wrong_requests.SeesFirstRequest: "after another request",
    wrong_requests.StaleCache: "after a longer request",
    wrong_requests.PrefixOff: "after a request that begins alike",
    wrong_requests.BlocksAlone: "after a request with the same tokens behind another beginning",
    wrong_requests.RowZero: "in rows after a batch's first",
    wrong_requests.Padded: "in ragged batches",
    wrong_requests.Permuted: "in batches of 8 and more",
    wrong_stops.NeverStops: "where a stop token ends an answer",
    wrong_stops.WrongStop: "where a stop token ends an answer",
    wrong_stops.DropsStop: "where a stop token ends an answer",
    wrong_requests.WrongRow: "in the logits of a prompt",
    wrong_requests.IgnoresLastToken: "in generated tokens",
    wrong_requests.StreamsLate: "in streams",
    wrong_requests.StreamEndsEarly: "wrong only in streams",
    wrong_requests.Racing: "for concurrent requests",
    wrong_requests.MiddleBatch: "in batches of 3 to 5",
    wrong_requests.LongRow: "wrong only in batches and from position",
    wrong_requests.FullCache: "other prompts and more",
    wrong_stops.FirstStop: "where a stop token ends an answer",
    wrong_requests.Remembered: "after the same request",
    wrong_requests.ReusedChunk: "after a request that begins alike",
    wrong_requests.EqualSwapped: "in batches of equal lengths",
    wrong_requests.ScaledLogits: "in the logits of a prompt",
    wrong_stops.Dropped: "after a stop token ended the request before",
    wrong_stops.ShiftedByStop: "in batches and where a stop token ends an answer",
}


@pytest.fixture(autouse=True)
def few_batches(monkeypatch):
    monkeypatch.setattr(cells, "BATCHES", (1, 2, 8))
    monkeypatch.setattr(batches, "BETWEEN", (3, 5, 12))


def last(make):
    return evaluate(tiny.measured(make))[-1]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found_and_its_surface_said(fault):
    verdict = last(fault)
    assert verdict.status == Status.FAIL
    assert FAULTS[fault] in verdict.message


def test_another_rope_base_is_wrong_from_the_first_positions_on():
    assert last(partial(tiny.Right, theta=500.0)).message.startswith("wrong only from position 2 on")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_right_engine_passes_on_every_surface(dtype):
    verdicts = evaluate(tiny.measured(partial(tiny.Right, dtype=dtype)))
    said = {verdict.subject: (verdict.status, verdict.message) for verdict in verdicts}
    assert {status for status, _ in said.values()} == {Status.PASS}, said
    assert len(verdicts) == len(cells.all_cells()) + 1


class Varying(tiny.Right):
    batch_invariant = True

    def prefill_batch(self, prompts):
        return [logits + 1e-4 for logits in super().prefill_batch(prompts)]


def test_an_engine_that_claims_to_be_batch_invariant_is_held_to_its_bits():
    (crowd,) = [v for v in evaluate(tiny.measured(Varying)) if v.subject.endswith("crowd")]
    assert crowd.status == Status.FAIL
    assert "claims to be batch-invariant" in crowd.message


class TokensOnly:
    """An engine that gives nothing but greedy answers."""

    def __init__(self, **options):
        self.right = tiny.Right(**options)

    def generate(self, ids, n):
        return self.right.generate(ids, n)


def test_what_an_engine_lacks_is_skipped_and_said():
    verdicts = {v.subject.rpartition(": ")[2]: v for v in evaluate(tiny.measured(TokensOnly))}
    assert verdicts["batch of 8, ragged"].message.startswith("the engine takes no batches")
    assert verdicts["streaming"].message == "the engine gives no streams (it has no stream)"
    assert verdicts["concurrent requests"].status == verdicts["alone and in a crowd"].status == Status.SKIPPED
    assert verdicts["greedy answers across block borders"].status == Status.PASS


class Raising(tiny.Right):
    max_batch = 2

    def prefill_batch(self, prompts):
        raise RuntimeError("no room")


def test_an_engine_that_raises_loses_that_cell_alone():
    verdicts = {v.subject.rpartition(": ")[2]: v for v in evaluate(tiny.measured(Raising))}
    assert verdicts["batch of 2, ragged"].status == Status.ERROR
    assert verdicts["batch of 2, ragged"].message == "the engine raised no room"
    assert verdicts["batch of 8, ragged"].message == "the engine takes 2 prompts at most"
    assert verdicts["prompts at block borders"].status == Status.PASS
    assert verdicts["what separates right from wrong"].status == Status.ERROR


class Nan(tiny.Right):
    def logits(self, ids):
        logits = super().logits(ids).clone()
        logits[16:] = torch.nan
        return logits


def test_nan_is_wrong():
    assert "from position 16 on" in last(Nan).message
    assert "does a number overflow" in last(Nan).message
