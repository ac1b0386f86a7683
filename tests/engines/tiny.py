"""A function in the place of a model, texts that it partly foresees, and a right engine of it."""

from __future__ import annotations

from functools import cache, partial

import torch

from braidcheck.engines.client import Client
from braidcheck.engines.process import EngineError
from braidcheck.engines.worker import Host
from braidcheck.gates.surfaces.cell import Surroundings
from braidcheck.gates.surfaces.checkpoint import read_text
from braidcheck.gates.surfaces.measure import measure_surfaces
from braidcheck.gates.surfaces.truth import Text
from braidcheck.golden.readings import Readings, best_ids, noise, read_logits

VOCAB, WIDTH, LONGEST, STOP = 96, 48, 256, 95
DTYPES = (torch.float32, torch.bfloat16)


@cache
def weights(dtype):
    """Embedding and head [V,H], rounded to a dtype."""
    draw = torch.Generator().manual_seed(1)
    return tuple(torch.randn(VOCAB, WIDTH, generator=draw).to(dtype).float() for _ in range(2))


@cache
def forward(ids, theta=10000.0, dtype=torch.float32):
    """Logits [T,V] of a tuple of ids: of each token, its position and, with turned signs, all tokens before it."""
    embedding, head = weights(dtype)
    rows = embedding[list(ids)]
    angles = torch.arange(len(ids))[:, None] * theta ** -torch.linspace(0, 1, WIDTH)
    turned = (rows * angles.cos()).cumsum(0) / torch.arange(1, len(ids) + 1)[:, None] ** 0.5
    hidden = torch.tanh(2 * turned * angles.cos() + rows).to(dtype).float()
    return 0.5 * (hidden @ head.T).to(dtype).float()


@cache
def texts():
    """Ten documents: random tokens, and between them what the model takes for the most probable."""
    return [_text(number, 40 + 14 * number) for number in range(10)]


def _text(number, length):
    draw = torch.Generator().manual_seed(number)
    ids = [0]
    while len(ids) < length:
        ids += torch.randint(1, STOP, (6,), generator=draw).tolist()
        for _ in range(8):
            ids.append(int(forward(tuple(ids))[-1, :STOP].argmax()))
    ids = torch.tensor(ids[:length])
    runs = [forward(tuple(ids.tolist()), dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    top, nothing = best_ids(runs[0]), torch.empty(0, dtype=torch.int64)
    absent = dict.fromkeys(("hidden", "norm", "entropy"), torch.empty(0))
    truth, floor = (Readings(**read_logits(run, ids, top, nothing), **absent) for run in runs)
    typical = float(noise(truth.top, floor.top).quantile(0.95))
    return Text(number, ids, top, truth, floor, typical, (STOP,))


def hf(ids):
    """What the samplers gate asks of HF: logits [T,V], and bfloat16's worst error [T]."""
    truth, floor = (forward(tuple(ids), dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    return truth, noise(truth, floor)


class Right:
    """A right engine with every level; ``options`` are the model's."""

    concurrency = 4

    def __init__(self, stop=STOP, **options):
        self.stop_token, self.options = stop, options

    def logits(self, ids):
        return forward(tuple(ids), **self.options)

    def prefill(self, ids):
        return self.logits(ids)

    def prefill_batch(self, prompts):
        return [self.logits(ids) for ids in prompts]

    def generate(self, ids, n):
        return self.decode(list(ids), n, lambda row: int(row.argmax()))

    def generate_batch(self, prompts, n):
        return [self.generate(ids, n) for ids in prompts]

    def stream(self, ids, n):
        yield from self.generate(ids, n)

    def sample(self, ids, n, *, temperature, top_k, top_p, min_p, seed):
        draw = torch.Generator().manual_seed(seed)

        def pick(row):
            values = row / temperature
            if top_k:
                values = values.masked_fill(values < values.topk(top_k).values[-1], -torch.inf)
            best, order = values.softmax(-1).sort(descending=True)
            best[self.behind(best, top_p)] = 0
            best[best < min_p * best[0]] = 0
            return int(order[torch.multinomial(best, 1, generator=draw)])

        return self.decode(list(ids), n, pick)

    def behind(self, best, top_p):
        """Where top-p rules out, in sorted probabilities."""
        return best.cumsum(-1) - best >= top_p

    def decode(self, ids, n, pick):
        answer = []
        while len(answer) < n and (not answer or answer[-1] != self.stop_token):
            answer.append(pick(self.next_logits(ids, answer)))
        return answer

    def next_logits(self, ids, answer):
        return self.logits([*ids, *answer])[-1]


class Local:
    """A connection to an engine in this process."""

    def __init__(self, engine):
        self.host = Host(engine)

    def call(self, request):
        try:
            header, parts = self.host.answer(request)
        except Exception as error:
            raise EngineError(f"raised {error}") from None
        return header, b"".join(parts)

    def close(self):
        pass


def client(make):
    """A Client of the engine that ``make()`` gives."""
    return Client(lambda: Local(make()), VOCAB)


def measured(make):
    """The surfaces' evidence of an engine; ``make(stop=)`` makes one whose model ends answers there."""
    evidence = {"engine": "tiny", "model": "model", "cells": [], "fresh": []}
    with_stop = lambda token: client(partial(make, stop=token))  # noqa: E731
    runs = [lambda ids, dtype=dtype: forward(tuple(ids.tolist()), dtype=dtype) for dtype in DTYPES]
    read = partial(read_text, runs, texts())
    around = Surroundings(texts(), LONGEST, lambda length: texts()[-1], read, with_stop)
    measure_surfaces(client(make), evidence, around)
    return evidence
