"""Chooses prompts: beginnings of a golden's documents, of lengths at which engines change code paths."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from braidcheck.gates.surfaces.truth import Request, Text

BLOCKS = (16, 32, 64, 128, 256, 512, 1024, 2048)
"""Sizes of blocks and chunks in current engines: cache pages, attention tiles, prefill chunks."""

BEGINNINGS = (16, 64, 256)
"""Tokens after which two prompts are equal: prefix-cache blocks of this size, or a divisor of it, are aligned there."""

MAX_ANSWER = 12
MIN_ANSWER = 3
MAX_BATCH_ANSWER = 6  # hundreds of rows decode together
MAX_STOP_PROMPT = 256  # stopping does not depend on a long context


def border_lengths(longest: int) -> list[int]:
    """1 and 2 tokens, and both sides of each block border; for long blocks the border and one more."""
    lengths = [1, 2]
    for block in BLOCKS:
        lengths += [block - 1, block, block + 1] if block <= 256 else [block, block + 1]
    return [length for length in lengths if length <= longest]


def prompt_of(texts: Sequence[Text], length: int, turn: int = 0, most: int = MAX_ANSWER) -> Request:
    """A prompt of ``length`` tokens, with up to ``most`` answer tokens of which HF is sure; ``turn`` chooses a
    document, preferably one with an answer.
    """
    candidates = [text for text in texts if len(text) >= length]
    ready = [text for text in candidates if text.stretches[length]] or candidates
    text = ready[turn % len(ready)]
    return Request(text, length, min(text.stretches[length], most))


def crossings(texts: Sequence[Text], longest: int) -> list[Request]:
    """For each block size the prompt with the longest sure answer across a block border."""
    requests = []
    for block in BLOCKS:
        places = [
            (min(block - at, text.stretches[at] + at - block), text, at)
            for text in texts
            for at in range(max(1, block - MAX_ANSWER), block)
            if at < len(text) and block < at + text.stretches[at] and block <= longest
        ]
        if places:
            _, text, at = max(places, key=lambda place: place[0])
            requests.append(Request(text, at, min(text.stretches[at], MAX_ANSWER)))
    return requests


def longest_answers(texts: Sequence[Text], count: int, longest: int) -> list[Request]:
    """The prompts with the longest sure answers, one per document, the shortest first."""
    requests = []
    for text in texts:
        places = range(1, min(len(text), longest - MAX_ANSWER))
        at = max(places, key=lambda at: (min(text.stretches[at], MAX_ANSWER), -at), default=0)
        if at and text.stretches[at] >= MIN_ANSWER:
            requests.append(Request(text, at, min(text.stretches[at], MAX_ANSWER)))
    return requests[:count]


def equal_lengths(texts: Sequence[Text], batch: int, longest: int) -> list[Request]:
    """``batch`` prompts of the length, of 16 to 48 tokens, at which HF is sure of most tokens."""
    lengths = range(min(16, longest), min(48, longest) + 1)
    usable = {n: [text for text in texts if len(text) > n] for n in lengths}
    length = max(lengths, key=lambda n: (sum(min(text.stretches[n], MIN_ANSWER) for text in usable[n]), -n))
    return [prompt_of(usable[length] or texts, length, turn, MAX_BATCH_ANSWER) for turn in range(batch)]


def ragged(texts: Sequence[Text], batch: int, longest: int) -> list[Request]:
    """``batch`` prompts of 1 to 96 tokens (32 where there are many), drawn by a fixed seed; neighbours have different
    lengths."""
    draw = random.Random(batch)
    most = min(96 if batch < 100 else 32, longest)
    requests: list[Request] = []
    for turn in range(batch):
        before = requests[-1].length if requests else 0
        length = draw.choice([n for n in range(1, most + 1) if n != before])
        requests.append(prompt_of(texts, length, turn, MAX_BATCH_ANSWER))
    return requests


def other_beginnings(ids: Tensor, texts: Sequence[Text], longest: int) -> list[tuple[int, Tensor]]:
    """``ids`` with the first tokens of another text, and how many: at least as many equal tokens follow."""
    others = [text.ids for text in reversed(texts) if not torch.equal(text.ids[: BEGINNINGS[0]], ids[: BEGINNINGS[0]])]
    requests = []
    for size in BEGINNINGS:
        length, long = 2 * size + 2 * MAX_ANSWER, [other for other in others if len(other) >= size]
        if long and length <= min(len(ids), longest):
            requests.append((size, torch.cat([long[0][:size], ids[size:length]])))
    return requests


def absent_token(stops: Sequence[int], prompts: Sequence[Request], vocab: int) -> tuple[int, ...]:
    """A token that occurs in no answer, to be listed before the real stop token; none if there is no such token."""
    used = {*stops, *(token for request in prompts for token in request.answer)}
    return tuple(token for token in range(vocab - 1, -1, -1) if token not in used)[:1]


def stop_requests(texts: Sequence[Text], longest: int) -> tuple[int, list[Request]]:
    """A token that can end answers, and prompts with answers of MIN_ANSWER tokens and more: in some of them it comes
    behind the first token and before the last, in others not at all. -1 where there is none."""
    answers = longest_answers(texts, len(texts), min(longest, MAX_STOP_PROMPT))
    inner = [set(request.answer[1:-1]) - {request.answer[0]} for request in answers]
    counts = Counter(token for tokens in inner for token in tokens if token)
    if not counts:
        return -1, []
    token = min(counts, key=lambda token: (abs(2 * counts[token] - len(answers)), token))
    stopped = [r for r, tokens in zip(answers, inner, strict=True) if token in tokens and token not in r.ids]
    stopped = stopped or [r for r, tokens in zip(answers, inner, strict=True) if token in tokens]
    others = [request for request in answers if token not in request.answer]
    return token, sorted([*stopped[:4], *others[:3]], key=lambda request: request.length)
