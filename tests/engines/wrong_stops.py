"""Engines of the tiny model with faults at stop tokens."""

from tests.engines.tiny import STOP, Right


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


class FirstStop(Right):
    """Of several stop tokens it knows the first."""

    def generate(self, ids, n, stop=()):
        answer = super().generate(ids, n)
        return answer[: answer.index(stop[0]) + 1] if set(stop[:1]) & set(answer) else answer


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
