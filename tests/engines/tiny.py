"""A function in the place of a model, texts that it partly foresees, and engines of it with planted faults."""

from __future__ import annotations

import threading
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
BLOCK = 64
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


class ChunkOffset(Right):
    def logits(self, ids):
        return torch.cat([super(ChunkOffset, self).logits(ids[at : at + BLOCK]) for at in range(0, len(ids), BLOCK)])


class SeesFirstRequest(Right):
    earlier = ()

    def prefill(self, ids):
        got = self.logits([*self.earlier, *ids])[len(self.earlier) :]
        self.earlier = tuple(ids[:8])
        return got


class StaleCache(Right):
    """A shorter prompt attends to what a longer one left."""

    longest = ()

    def prefill(self, ids):
        left = self.longest[len(ids) : len(ids) + 4]
        self.longest = max(self.longest, tuple(ids), key=len)
        return torch.cat([self.logits(ids)[:-1], self.logits([*left, *ids])[-1:]]) if left else self.logits(ids)


class PrefixOff(Right):
    """A cached prefix is taken for one token longer than it is."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = set()

    def prefill(self, ids):
        block = tuple(ids[:16])
        hit = len(ids) > 16 and block in self.seen
        self.seen.add(block)
        late = self.logits([*ids[:16], *ids[17:], 0])[16:]
        return torch.cat([self.logits(ids)[:16], late]) if hit else self.logits(ids)


class BlocksAlone(Right):
    """Blocks of 16 are found by their own tokens, whatever lies before them."""

    def __init__(self, **options):
        super().__init__(**options)
        self.known = {}

    def logits(self, ids):
        seen = [self.known.setdefault(tuple(ids[at : at + 16]), list(ids[:at])) for at in range(0, len(ids) - 16, 16)]
        cached = max(seen, key=len, default=[])
        return super().logits([*cached, *ids[len(cached) :]])


class RowZero(Right):
    def prefill_batch(self, prompts):
        first = self.logits(prompts[0])
        return [first[: len(ids)] if len(ids) <= len(first) else self.logits(ids) * 0 for ids in prompts]


class Padded(Right):
    """Padding on the left is attended to."""

    def prefill_batch(self, prompts):
        longest = max(map(len, prompts))
        return [self.logits([0] * (longest - len(ids)) + list(ids))[longest - len(ids) :] for ids in prompts]


class Permuted(Right):
    """From eight prompts on, answers come in another order."""

    def generate_batch(self, prompts, n):
        answers = super().generate_batch(prompts, n)
        return answers if len(answers) < 8 else answers[::-1]


class NeverStops(Right):
    def __init__(self, stop=STOP, **options):
        super().__init__(-1, **options)


class WrongStop(Right):
    """It stops at the stop token's neighbour, and drops it."""

    def __init__(self, stop=STOP, **options):
        super().__init__(stop + 1 if stop != STOP else stop, **options)


class DropsStop(Right):
    def generate(self, ids, n):
        answer = super().generate(ids, n)
        return answer[:-1] if answer and answer[-1] == self.stop_token else answer


class WrongRow(Right):
    def prefill(self, ids):
        return self.logits(ids).roll(1, dims=0)


class Truncated(Right):
    def logits(self, ids):
        whole = super().logits(ids)
        if len(ids) <= BLOCK:
            return whole
        cut = [super(Truncated, self).logits(ids[at - 47 : at + 1])[-1:] for at in range(BLOCK, len(ids))]
        return torch.cat([whole[:BLOCK], *cut])


class IgnoresLastToken(Right):
    def next_logits(self, ids, answer):
        return self.logits([*ids[:-1], *answer] if len(ids) > 1 else [*ids, *answer])[-1]


class MiddleBatch(Right):
    """Batches of 3 to 7 prompts are filled up to 8, and the third row is lost."""

    def prefill_batch(self, prompts):
        found = super().prefill_batch(prompts)
        return found if not 2 < len(found) < 8 else [*found[:2], found[2] * 0, *found[3:]]


class LongRow(Right):
    """In a batch, what lies behind the first 100 tokens forgets them."""

    def prefill_batch(self, prompts):
        return [torch.cat([self.logits(ids[:100]), self.logits(ids[100:])]) if ids[100:] else self.logits(ids)
                for ids in prompts]  # fmt: skip


class FullCache(Right):
    """From the 40th prompt of a process on, its first tokens are another's."""

    count = 0

    def prefill(self, ids):
        self.count += 1
        return self.logits([*ids[:4][::-1], *ids[4:]] if self.count > 40 else ids)


class FirstStop(Right):
    """Of several stop tokens it knows the first."""

    def generate(self, ids, n, stop=()):
        answer = super().generate(ids, n)
        return answer[: answer.index(stop[0]) + 1] if set(stop[:1]) & set(answer) else answer


class Remembered(Right):
    """A prompt that it knows has the last logits of the position before."""

    def __init__(self, **options):
        super().__init__(**options)
        self.known = set()

    def prefill(self, ids):
        known = len(ids) > 1 and tuple(ids) in self.known
        self.known.add(tuple(ids))
        return torch.cat([self.logits(ids)[:-1], self.logits(ids)[-2:-1]]) if known else self.logits(ids)


class StreamEndsEarly(Right):
    def stream(self, ids, n):
        yield from self.generate(ids, n)[:-1]


class LongAnswer(Right):
    """Behind the 32nd token of an answer the one before the last is forgotten."""

    def next_logits(self, ids, answer):
        return super().next_logits(ids, answer if len(answer) <= 32 else [*answer[:-2], answer[-1]])


class ReusedChunk(Right):
    """Behind the first chunk of a prompt whose beginning is cached, positions begin at 0 again."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = set()

    def prefill(self, ids):
        block, whole = tuple(ids[:16]), self.logits(ids)
        hit = block in self.seen and len(ids) > BLOCK
        self.seen.add(block)
        return torch.cat([whole[:BLOCK], self.logits(ids[BLOCK:])]) if hit else whole


class EqualSwapped(Right):
    """Sorted by length, rows of one length change places."""

    def prefill_batch(self, prompts):
        order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), -row))
        back = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
        found = {row: self.logits(prompts[at]) for row, at in zip(back, order, strict=True)}
        return [found[row] for row in range(len(prompts))]


class ScaledLogits(Right):
    """The logits of a prompt are given as a sampler has divided them by a temperature."""

    def prefill(self, ids):
        return self.logits(ids) / 0.7


class Dropped(Right):
    """A request that a stop token ended leaves its first block, which the next one takes for its own."""

    left = ()

    def generate(self, ids, n, stop=()):
        answer = self.decode([*self.left, *ids[len(self.left) :]], n, lambda row: int(row.argmax()))
        ends = [at for at, token in enumerate(answer) if token in stop]
        self.left = tuple(ids[:4]) if ends else ()
        return answer[: ends[0] + 1] if ends else answer


class ShiftedByStop(Right):
    """Where a row of a batch has ended, the others' next tokens are one position late."""

    def generate_batch(self, prompts, n, stop=()):
        answers, ends = [[] for _ in prompts], {*stop, self.stop_token}
        for _ in range(n):
            late = any({*answer} & ends for answer in answers)
            for ids, answer in zip(prompts, answers, strict=True):
                if not {*answer} & ends:
                    row = self.next_logits([0, *ids] if late else ids, answer)
                    answer.append(int(row.argmax()))
        return answers


class StreamsLate(Right):
    def stream(self, ids, n):
        yield from self.generate(ids, n + 1)[1:]


class Racing(Right):
    """Requests at once share one prompt buffer."""

    def __init__(self, **options):
        super().__init__(**options)
        self.active, self.lock, self.buffer = 0, threading.Lock(), ()
        self.all_here = threading.Barrier(self.concurrency, timeout=0.05)

    def prefill(self, ids):
        self.buffer = tuple(ids)
        try:
            self.all_here.wait()
        except threading.BrokenBarrierError:  # alone
            self.all_here.reset()
            return self.logits(ids)
        return self.logits([*self.buffer[:1], *ids[:-1]])


class TemperatureIgnored(Right):
    def sample(self, ids, n, **options):
        return super().sample(ids, n, **{**options, "temperature": 1.0})


class TopKIgnored(Right):
    def sample(self, ids, n, **options):
        return super().sample(ids, n, **{**options, "top_k": 0})


class TopKTooSmall(Right):
    def sample(self, ids, n, **options):
        return super().sample(ids, n, **{**options, "top_k": max(0, options["top_k"] - 1)})


class TopPTooFew(Right):
    """The token with which the sum goes over top-p is not kept, unless it is the only one."""

    def behind(self, best, top_p):
        over = best.cumsum(-1) > top_p
        over[0] = top_p == 0
        return over & (top_p < 1)


class TopPOfAll(Right):
    """Top-p is taken of all tokens beside top-k: SGLang's convention."""

    def sample(self, ids, n, *, temperature, top_k, top_p, min_p, seed):
        draw = torch.Generator().manual_seed(seed)

        def pick(row):
            best, order = (row / temperature).softmax(-1).sort(descending=True)
            best[self.behind(best, top_p)] = 0
            best[top_k or len(best) :] = 0
            best[best < min_p * best[0]] = 0
            return int(order[torch.multinomial(best, 1, generator=draw)])

        return self.decode(list(ids), n, pick)


class ForgetsTopK(Right):
    """Where there is a top-p, top-k is left out."""

    def sample(self, ids, n, **options):
        return super().sample(ids, n, **{**options, "top_k": 0 if options["top_p"] < 1 else options["top_k"]})


class ForgetsTopP(Right):
    """Where there is a top-k, top-p is left out."""

    def sample(self, ids, n, **options):
        return super().sample(ids, n, **{**options, "top_p": 1.0 if options["top_k"] else options["top_p"]})


class PartlyGreedy(Right):
    """Of ten draws one is the best token."""

    def sample(self, ids, n, **options):
        own, answer = torch.Generator().manual_seed(options["seed"] + 1), []
        for at in range(n):
            greedy = torch.rand(1, generator=own) < 0.1
            options["seed"] += 10_000 * (at > 0)
            one = (self.generate if greedy else partial(super().sample, **options))([*ids, *answer], 1)
            answer += one
            if one == [self.stop_token]:
                break
        return answer


class NumbersTwice(Right):
    """Two tokens after one another take one random number, by a ``way`` of drawing by it."""

    def __init__(self, way, **options):
        super().__init__(**options)
        self.way = way

    def sample(self, ids, n, *, seed, temperature, top_k, top_p, min_p):
        draw = torch.Generator().manual_seed(seed)
        numbers = [torch.rand(VOCAB, generator=draw, dtype=torch.float64) for _ in range((n + 1) // 2)]
        twice = iter([number for number in numbers for _ in range(2)])
        return self.decode(list(ids), n, lambda row: self.way((row / temperature).softmax(-1), next(twice)))


def by_id(shares, numbers):
    return min(VOCAB - 1, int(torch.searchsorted(shares.double().cumsum(0), numbers[0])))


def by_share(shares, numbers):
    best, order = shares.sort(descending=True)
    return int(order[by_id(best, numbers)])


def by_race(shares, numbers):
    """The first to arrive, as by torch.multinomial."""
    return int((-numbers.log() / shares).argmin())


class SeedHalved(Right):
    def sample(self, ids, n, **options):
        return super().sample(ids, n, **{**options, "seed": options["seed"] // 2})


class RowsShareNumbers(Right):
    """Of requests at once, two share their random numbers from the second token on."""

    def sample(self, ids, n, **options):
        first = super().sample(ids, 1, **options)
        if n == 1 or first == [self.stop_token]:
            return first
        alone = threading.current_thread() is threading.main_thread()
        options["seed"] = options["seed"] if alone else options["seed"] // 2
        return first + super().sample([*ids, *first], n - 1, **options)


class SamplesOn(Right):
    """Drawn answers go on behind the stop token."""

    def sample(self, ids, n, **options):
        answer = super().sample(ids, n, **options)
        return answer if len(answer) == n else [*answer, *self.sample([*ids, *answer], n - len(answer), **options)]


class FirstGreedy(Right):
    """The first token is the best one."""

    def sample(self, ids, n, **options):
        first = self.generate(ids, 1)
        return first + (super().sample([*ids, *first], n - 1, **options) if n > 1 else [])


class FewSeeds(Right):
    def sample(self, ids, n, **options):
        return super().sample(ids, n, **{**options, "seed": options["seed"] % 2})


class ByteSeed(Right):
    def sample(self, ids, n, **options):
        return super().sample(ids, n, **{**options, "seed": options["seed"] % 256})


class FloatSeed(Right):
    def sample(self, ids, n, **options):
        return super().sample(ids, n, **{**options, "seed": int(torch.tensor(float(options["seed"])))})


class SharedSeed(Right):
    """Requests at once, by threads, share one seed."""

    def sample(self, ids, n, **options):
        alone = threading.current_thread() is threading.main_thread()
        return super().sample(ids, n, **(options if alone else {**options, "seed": 1}))


class OffByOne(Right):
    """Draws after the token before the last."""

    def sample(self, ids, n, **options):
        return super().sample(ids[:-1], n, **options)


class SeedIgnored(Right):
    def sample(self, ids, n, **options):
        return super().sample(ids, n, **{**options, "seed": int(torch.randint(1 << 30, ()))})
