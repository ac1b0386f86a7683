"""The cells of the table: alone and in batches, at block borders, at late positions, after other requests, with stop
tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from braidcheck.engines.client import Client, Top
from braidcheck.gates.surfaces import requests as plan
from braidcheck.gates.surfaces.ask import Asker, NotServed
from braidcheck.gates.surfaces.evidence import Outcome
from braidcheck.gates.surfaces.truth import Request, Text

BATCHES = (1, 2, 8, 33, 257)
BETWEEN = (3, 5, 12, 24, 100)
MANY = 100  # requests, one after the other
CROWD = 8
NO_TOKEN = -1  # no answer has it
CROWD_ROWS = (0, 5)  # positions of the same request in a large batch


@dataclass
class CellResult:
    """The result of a cell."""

    outcomes: list[Outcome] = field(default_factory=list)
    differing: int = 0
    compared: int = 0
    must_be_equal: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What cells need beside the engine and the golden's ``texts``. ``longest`` is the number of tokens that model and
    engine support; ``long_text()`` gives a Text of that length or raises NotServed, ``read(ids)`` a Text of any tokens;
    ``with_stop(token)`` starts an engine whose model has the stop token ``token``.
    """

    texts: list[Text]
    longest: int
    long_text: Callable[[int], Text]
    read: Callable[[Tensor], Text]
    with_stop: Callable[[int], Client]


CellFunction = Callable[[Asker, Surroundings], CellResult]


def all_cells() -> list[tuple[str, CellFunction]]:
    """Names and functions in running order: prompts grow, so that effects of an earlier longer prompt can be told
    apart."""
    return [
        ("first request", first_request),
        ("prompts at block borders", block_borders),
        ("greedy answers across block borders", across_borders),
        ("long context", long_context),
        ("second request, shorter than the first", second_shorter),
        ("second request, longer than the first", second_longer),
        ("prefix reuse", prefix_reuse),
        ("same tokens behind another beginning", other_beginning),
        ("many requests", many_requests),
        *((f"batch of {size}, equal lengths", partial(batch_of, size, False)) for size in BATCHES),
        *((f"batch of {size}, ragged", partial(batch_of, size, True)) for size in BATCHES if size > 1),
        ("batches between these, ragged", batches_between),
        ("batch of 3, short and long", batch_of_long),
        ("alone and in a crowd", crowd),
        ("concurrent requests", concurrent),
        ("streaming", streaming),
        ("stop tokens", partial(stops, False)),
        ("stop tokens in a batch", partial(stops, True)),
    ]


def first_request(asker: Asker, around: Surroundings) -> CellResult:
    """A short prompt, before anything else."""
    asker.restart()
    return CellResult(asker.single(plan.prompt_of(around.texts, min(12, around.longest))))


def block_borders(asker: Asker, around: Surroundings) -> CellResult:
    """Prompts on both sides of block borders, the shortest first."""
    longest = min(around.longest - 1, len(around.texts[-1]))
    lengths = plan.border_lengths(longest)
    prompts = [plan.prompt_of(around.texts, length, turn) for turn, length in enumerate(lengths)]
    return CellResult([one for prompt in prompts for one in asker.single(_within(prompt, around))])


def across_borders(asker: Asker, around: Surroundings) -> CellResult:
    """Answers that begin before a border and end after it, and the longest ones."""
    asker.need("generate", "greedy answers")
    prompts = [*plan.crossings(around.texts, around.longest), *plan.longest_answers(around.texts, 6, around.longest)]
    return _some([asker.greedy(prompt) for prompt in prompts], "HF is sure of no answer in this text")


def long_context(asker: Asker, around: Surroundings) -> CellResult:
    """A prompt of the model's maximum length, as far as HF can run here."""
    text = around.long_text(around.longest)
    at = max(range(len(text) - plan.MAX_ANSWER, 0, -1), key=lambda at: (text.stretches[at] >= plan.MIN_ANSWER, at))
    answer = Request(text, at, min(text.stretches[at], plan.MAX_ANSWER))
    found = asker.single(Request(text, len(text)))
    return CellResult(found + ([asker.greedy(answer)] if answer.count and asker.can("generate") else []))


def second_shorter(asker: Asker, around: Surroundings) -> CellResult:
    """A short prompt, a long one, the short one again and another short one."""
    short, other, long = _short(around, 0), _short(around, 1), _long(around)
    return CellResult([one for prompt in (short, long, short, other) for one in asker.single(prompt)])


def second_longer(asker: Asker, around: Surroundings) -> CellResult:
    """In a fresh process: a short prompt and then a long one of another text."""
    asker.restart()
    return CellResult([one for prompt in (_short(around, 0), _long(around)) for one in asker.single(prompt)])


def prefix_reuse(asker: Asker, around: Surroundings) -> CellResult:
    """Prompts with a common prefix: one, its continuation, a shortened one, the first again."""
    text = _long(around).text
    most = min(len(text), around.longest - plan.MAX_ANSWER)
    lengths = [most // 2, most - 1, most // 3, most // 2, most // 2 + 1]
    return CellResult([one for n in lengths if n for one in asker.single(plan.prompt_of([text], n))])


def other_beginning(asker: Asker, around: Surroundings) -> CellResult:
    """A prompt, and others that differ only in their first tokens: they must not reuse its cached blocks."""
    base = _long(around)
    others = plan.other_beginnings(base.text.ids, around.texts, around.longest)
    found = asker.single(base)
    for size, ids in others:
        text = around.read(ids)
        at = max(range(2 * size + 1, len(text)), key=text.stretches.__getitem__)
        found += asker.single(Request(text, at, min(text.stretches[at], plan.MAX_ANSWER)))
    return _some(found if others else [], "the golden has no text of 56 tokens and another that begins otherwise")


def many_requests(asker: Asker, around: Surroundings) -> CellResult:
    """Many short prompts one after another: shows what the first dozens do not."""
    method = "prefill" if asker.can("prefill") else "generate"
    asker.need(method, "greedy answers")
    lengths = range(5, min(25, around.longest))
    prompts = [plan.prompt_of(around.texts, lengths[turn % len(lengths)], turn, 1) for turn in range(MANY)]
    if method == "prefill":
        return CellResult([asker.logits(prompt) for prompt in prompts])
    return _some([asker.greedy(prompt) for prompt in prompts if prompt.count], "HF is sure of no answer in this text")


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
    long = _long(around)
    return CellResult(asker.batch([_short(around, 0), long, plan.prompt_of(around.texts, long.length // 2, 1)]))


def crowd(asker: Asker, around: Surroundings) -> CellResult:
    """The same request alone and at several positions of a batch; also compares bits."""
    asker.need("prefill_batch", "logits of batches")
    asker.need("prefill", "logits")
    _need_room(asker, CROWD)
    prompts = plan.ragged(around.texts, CROWD, around.longest - plan.MAX_ANSWER)
    same = _short(around, 2)
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


def streaming(asker: Asker, around: Surroundings) -> CellResult:
    """Streamed answers."""
    asker.need("stream", "streams")
    prompts = plan.longest_answers(around.texts, 3, around.longest)
    return _some([asker.greedy(prompt, "stream") for prompt in prompts], "HF is sure of no answer in this text")


def stops(batch: bool, asker: Asker, around: Surroundings) -> CellResult:
    """Answers with and without a stop token in them, given by ``stop`` or by the model's config."""
    method = "generate_batch" if batch else "generate"
    asker.need(method, "greedy answers in batches" if batch else "greedy answers")
    token, prompts = plan.stop_requests(around.texts, around.longest)
    if not prompts:
        raise NotServed("no token of this text can end an answer that HF is sure of")
    if method in asker.client.stops:
        never = plan.absent_token(around.texts[0].stops, prompts, asker.client.vocab)
        ended = next(request for request in prompts if token in request.answer)
        # The last goes on behind the token, which only earlier requests named.
        outcomes = asker.stopped(token, (*never, token), prompts, batch)
        return CellResult([*outcomes, *asker.stopped(NO_TOKEN, (), [ended], batch)])
    other = around.with_stop(token)
    try:
        return CellResult(Asker(other).stopped(token, (), prompts, batch))
    finally:
        other.close()


def _need_batches(asker: Asker) -> None:
    if not asker.can("prefill_batch") and not asker.can("generate_batch"):
        raise NotServed("the engine takes no batches (it has no prefill_batch or generate_batch)")


def _need_room(asker: Asker, size: int) -> None:
    limit = asker.client.claims["max_batch"]
    if 0 < limit < size:
        raise NotServed(f"the engine takes {limit} prompts at most")


def _some(outcomes: list[Outcome], why_none: str) -> CellResult:
    if not outcomes:
        raise NotServed(why_none)
    return CellResult(outcomes)


def _within(request: Request, around: Surroundings) -> Request:
    """The request, without its answer if that would exceed the model's length."""
    room = around.longest - request.length
    return Request(request.text, request.length, min(request.count, room))


def _short(around: Surroundings, turn: int) -> Request:
    return plan.prompt_of(around.texts, min(24, around.longest), turn)


def _long(around: Surroundings) -> Request:
    """The longest prompt in the text, up to a few hundred tokens."""
    length = min(700, len(around.texts[-1]), around.longest - plan.MAX_ANSWER)
    return plan.prompt_of(around.texts, length)
