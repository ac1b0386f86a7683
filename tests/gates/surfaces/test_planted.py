"""Planted faults of engines: each is found, and the surface that separates is said; right engines pass."""

from functools import partial

import pytest
import torch

from braidcheck.gates.surfaces import batches, cells, evaluate
from braidcheck.result import Status
from tests.engines import tiny

FAULTS = {
    tiny.ChunkOffset: "from position 64 on",
    tiny.Truncated: "from position 64 on",
    tiny.SeesFirstRequest: "after another request",
    tiny.StaleCache: "after a longer request",
    tiny.PrefixOff: "after a request that begins alike",
    tiny.BlocksAlone: "after a request with the same tokens behind another beginning",
    tiny.RowZero: "in rows after a batch's first",
    tiny.Padded: "in ragged batches",
    tiny.Permuted: "in batches of 8 and more",
    tiny.NeverStops: "where a stop token ends an answer",
    tiny.WrongStop: "where a stop token ends an answer",
    tiny.DropsStop: "where a stop token ends an answer",
    tiny.WrongRow: "in the logits of a prompt",
    tiny.IgnoresLastToken: "in generated tokens",
    tiny.StreamsLate: "in streams",
    tiny.StreamEndsEarly: "wrong only in streams",
    tiny.Racing: "for concurrent requests",
    tiny.MiddleBatch: "in batches of 3 to 5",
    tiny.LongRow: "wrong only in batches and from position",
    tiny.FullCache: "other prompts and more",
    tiny.FirstStop: "where a stop token ends an answer",
    tiny.Remembered: "after the same request",
    tiny.ReusedChunk: "after a request that begins alike",
    tiny.EqualSwapped: "in batches of equal lengths",
    tiny.ScaledLogits: "in the logits of a prompt",
    tiny.Dropped: "after a stop token ended the request before",
    tiny.ShiftedByStop: "in batches and where a stop token ends an answer",
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
