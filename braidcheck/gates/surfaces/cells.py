"""The cells of the table: alone and in batches, at block borders, at late positions, after other requests, with stop
tokens. Those with several requests at once are in ``batches``."""

from __future__ import annotations

from functools import partial

from braidcheck.gates.surfaces import requests as plan
from braidcheck.gates.surfaces.ask import Asker, NotServed
from braidcheck.gates.surfaces.batches import batch_of, batch_of_long, batches_between, concurrent, crowd
from braidcheck.gates.surfaces.cell import (
    CellFunction,
    CellResult,
    Surroundings,
    long_request,
    result_of,
    short_request,
)
from braidcheck.gates.surfaces.truth import Request

BATCHES = (1, 2, 8, 33, 257)
MANY = 100  # requests, one after the other
NO_TOKEN = -1  # no answer has it


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
    return result_of([asker.greedy(prompt) for prompt in prompts], "HF is sure of no answer in this text")


def long_context(asker: Asker, around: Surroundings) -> CellResult:
    """A prompt of the model's maximum length, as far as HF can run here."""
    text = around.long_text(around.longest)
    at = max(range(len(text) - plan.MAX_ANSWER, 0, -1), key=lambda at: (text.stretches[at] >= plan.MIN_ANSWER, at))
    answer = Request(text, at, min(text.stretches[at], plan.MAX_ANSWER))
    outcomes = asker.single(Request(text, len(text)))
    return CellResult(outcomes + ([asker.greedy(answer)] if answer.count and asker.can("generate") else []))


def second_shorter(asker: Asker, around: Surroundings) -> CellResult:
    """A short prompt, a long one, the short one again and another short one."""
    short, other, long = short_request(around, 0), short_request(around, 1), long_request(around)
    return CellResult([one for prompt in (short, long, short, other) for one in asker.single(prompt)])


def second_longer(asker: Asker, around: Surroundings) -> CellResult:
    """In a fresh process: a short prompt and then a long one of another text."""
    asker.restart()
    return CellResult(
        [one for prompt in (short_request(around, 0), long_request(around)) for one in asker.single(prompt)]
    )


def prefix_reuse(asker: Asker, around: Surroundings) -> CellResult:
    """Prompts with a common prefix: one, its continuation, a shortened one, the first again."""
    text = long_request(around).text
    most = min(len(text), around.longest - plan.MAX_ANSWER)
    lengths = [most // 2, most - 1, most // 3, most // 2, most // 2 + 1]
    return CellResult([one for n in lengths if n for one in asker.single(plan.prompt_of([text], n))])


def other_beginning(asker: Asker, around: Surroundings) -> CellResult:
    """A prompt, and others that differ only in their first tokens: they must not reuse its cached blocks."""
    base = long_request(around)
    others = plan.other_beginnings(base.text.ids, around.texts, around.longest)
    outcomes = asker.single(base)
    for size, ids in others:
        text = around.read(ids)
        at = max(range(2 * size + 1, len(text)), key=text.stretches.__getitem__)
        outcomes += asker.single(Request(text, at, min(text.stretches[at], plan.MAX_ANSWER)))
    return result_of(
        outcomes if others else [], "the golden has no text of 56 tokens and another that begins otherwise"
    )


def many_requests(asker: Asker, around: Surroundings) -> CellResult:
    """Many short prompts one after another: shows what the first dozens do not."""
    method = "prefill" if asker.can("prefill") else "generate"
    asker.need(method, "greedy answers")
    lengths = range(5, min(25, around.longest))
    prompts = [plan.prompt_of(around.texts, lengths[turn % len(lengths)], turn, 1) for turn in range(MANY)]
    if method == "prefill":
        return CellResult([asker.logits(prompt) for prompt in prompts])
    return result_of(
        [asker.greedy(prompt) for prompt in prompts if prompt.count], "HF is sure of no answer in this text"
    )


def streaming(asker: Asker, around: Surroundings) -> CellResult:
    """Streamed answers."""
    asker.need("stream", "streams")
    prompts = plan.longest_answers(around.texts, 3, around.longest)
    return result_of([asker.greedy(prompt, "stream") for prompt in prompts], "HF is sure of no answer in this text")


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


def _within(request: Request, around: Surroundings) -> Request:
    """The request, without its answer if that would exceed the model's length."""
    room = around.longest - request.length
    return Request(request.text, request.length, min(request.count, room))
