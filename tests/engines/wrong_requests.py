"""Engines of the tiny model with faults in prompts, caches, batches, streams and answers."""

import threading

import torch

from tests.engines.tiny import Right

BLOCK = 64  # tokens of a chunk


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
