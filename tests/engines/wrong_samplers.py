"""Engines of the tiny model with faults in how they draw tokens."""

import threading
from functools import partial

import torch

from tests.engines.tiny import VOCAB, Right


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
