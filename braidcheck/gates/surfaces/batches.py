"""The cells that have several requests at once: batches, and requests from threads."""

from __future__ import annotations

import torch

from braidcheck.engines.client import Top
from braidcheck.gates.surfaces import requests as plan
from braidcheck.gates.surfaces.ask import Asker, NotServed
from braidcheck.gates.surfaces.cell import CellResult, Surroundings, long_request, short_request

BETWEEN = (3, 5, 12, 24, 100)
CROWD = 8
CROWD_ROWS = (0, 5)  # positions of the same request in a large batch


def batch_of(size: int, uneven: bool, asker: Asker, around: Surroundings) -> CellResult:
    """``size`` prompts at once."""
    _need_batches(asker)
    _need_room(asker, size)
    longest = around.longest - plan.MAX_ANSWER
    prompts = (plan.ragged if uneven else plan.equal_lengths)(around.texts, size, longest)
    return CellResult(asker.batch(prompts))


def batches_between(asker: Asker, around: Surroundings) -> CellResult:
    """Batches of sizes that engines pad to the next size with a CUDA graph."""
    _need_room(asker, BETWEEN[0])
    limit = asker.client.claims["max_batch"] or BETWEEN[-1]
    sizes = [size for size in BETWEEN if size <= limit]
    return CellResult([one for size in sizes for one in batch_of(size, True, asker, around).outcomes])


def batch_of_long(asker: Asker, around: Surroundings) -> CellResult:
    """A long prompt between shorter ones: a batch of more than one chunk."""
    _need_batches(asker)
    _need_room(asker, 3)
    long = long_request(around)
    return CellResult(asker.batch([short_request(around, 0), long, plan.prompt_of(around.texts, long.length // 2, 1)]))


def crowd(asker: Asker, around: Surroundings) -> CellResult:
    """The same request alone and at several positions of a batch; also compares bits."""
    asker.need("prefill_batch", "logits of batches")
    asker.need("prefill", "logits")
    _need_room(asker, CROWD)
    prompts = plan.ragged(around.texts, CROWD, around.longest - plan.MAX_ANSWER)
    same = short_request(around, 2)
    prompts = [same if row in CROWD_ROWS else prompt for row, prompt in enumerate(prompts)]
    alone = asker.alone(same)
    if isinstance(alone, Top):
        raise NotServed("a server's best log-probabilities are not compared by bits")
    got = asker.prefills(prompts)
    outcomes = asker.batch(prompts)
    rows = [logits for row in CROWD_ROWS if isinstance(logits := got[row], torch.Tensor)]
    differing = sum(int((alone[-len(row) :].view(torch.int32) != row.view(torch.int32)).sum()) for row in rows)
    return CellResult(outcomes, differing, sum(row.numel() for row in rows), asker.client.claims["batch_invariant"])


def concurrent(asker: Asker, around: Surroundings) -> CellResult:
    """Concurrent requests of different lengths, from threads, twice."""
    threads = min(asker.client.claims["concurrency"], CROWD)
    if threads < 2:
        raise NotServed("the engine takes one request at a time (its attribute concurrency is 1)")
    prompts = plan.ragged(around.texts, threads, around.longest - plan.MAX_ANSWER)
    return CellResult([*asker.batch(prompts, "together"), *asker.batch(prompts[::-1], "together")])


def _need_batches(asker: Asker) -> None:
    if not asker.can("prefill_batch") and not asker.can("generate_batch"):
        raise NotServed("the engine takes no batches (it has no prefill_batch or generate_batch)")


def _need_room(asker: Asker, size: int) -> None:
    limit = asker.client.claims["max_batch"]
    if 0 < limit < size:
        raise NotServed(f"the engine takes {limit} prompts at most")
