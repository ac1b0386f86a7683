"""HF's answers for the beginnings of a golden's documents: logits at every position, and tokens where HF is sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from braidcheck.engines.client import Prefilled, Top
from braidcheck.gates.surfaces.evidence import Outcome
from braidcheck.golden.readings import Readings, margin, noise

SURE_SIGMA = 4.0
"""Two logits that are each off by twice bfloat16's local worst error still do not swap: no engine of that precision
differs."""

KL_SIGMA = 2.0
"""KL is at most e**2 / 2 where no logit is off by more than e (Hoeffding's lemma), twice bfloat16's worst error."""


@dataclass(frozen=True)
class Text:
    """One document: ids [T] int64 and HF's readings in float32 and bfloat16.

    ``typical`` is the golden's noise, ``stops`` are the tokens at which the model ends an answer.
    """

    number: int
    ids: Tensor
    top_ids: Tensor
    truth: Readings
    floor: Readings
    typical: float
    stops: tuple[int, ...] = ()

    @cached_property
    def noise(self) -> Tensor:
        """bfloat16's worst error [T] of a logit: local or typical, whichever is larger."""
        return noise(self.truth.top, self.floor.top).clamp_min(self.typical)

    @cached_property
    def kl_limit(self) -> Tensor:
        """The KL [T] that no engine of bfloat16's precision reaches."""
        return (KL_SIGMA * self.noise).double() ** 2 / 2

    @cached_property
    def stretches(self) -> list[int]:
        """How many next tokens HF is sure of after the first p tokens, and that follow in the text; 0 for p = 0."""
        sure = (margin(self.truth) > SURE_SIGMA * self.noise)[:-1] & (self.truth.argmax[:-1].long() == self.ids[1:])
        sure &= ~torch.isin(self.ids[1:], torch.tensor(self.stops, dtype=torch.int64))
        starts = [0]
        for good in reversed(sure.tolist()):
            starts.append(starts[-1] + 1 if good else 0)
        return [0, *reversed(starts[1:]), 0]

    def __len__(self) -> int:
        """Tokens."""
        return len(self.ids)


def texts_of(golden: Any, stops: Sequence[int]) -> list[Text]:
    """The documents of a golden, the shortest first."""
    typical = golden.typical_noise
    documents = [(number, golden.document(number)) for number in range(len(golden))]
    made = [Text(n, d.ids, d.top_ids, d.truth, d.floor, typical, tuple(stops)) for n, d in documents]
    return sorted(made, key=len)


@dataclass(frozen=True)
class Request:
    """The first ``length`` tokens of ``text`` as a prompt; HF is sure of ``count`` answer tokens."""

    text: Text
    length: int
    count: int = 0

    @property
    def ids(self) -> list[int]:
        """The prompt."""
        return self.text.ids[: self.length].tolist()

    @property
    def answer(self) -> list[int]:
        """HF's tokens."""
        return self.text.ids[self.length : self.length + self.count].tolist()


@dataclass(frozen=True)
class Circumstances:
    """The circumstances of a request."""

    batch: int = 1
    row: int = 0
    ragged: bool = False
    after: tuple[str, ...] = ()
    before: int = 0
    together: bool = False


def log_probabilities(run: Readings, rows: slice) -> Tensor:
    """Log-probabilities [R,65] of the golden's 64 ids and of all others combined."""
    whole = torch.cat([run.top[rows].double(), run.tail[rows].double()[:, None]], dim=-1)
    return whole - run.lse[rows].double()[:, None]


def divergences(text: Text, first: int, got: Prefilled) -> tuple[Tensor, Tensor]:
    """KL(HF float32, engine) and KL(HF float32, HF bfloat16) [R] in nats at the positions from ``first`` on.

    Over the golden's 64 ids and all others as one outcome; where the engine gives its best alone, over those ids that
    both have. NaN where a row is not given.
    """
    rows = slice(first, first + (len(got.ids) if isinstance(got, Top) else len(got)))
    truth, floor = log_probabilities(text.truth, rows), log_probabilities(text.floor, rows)
    if isinstance(got, Top):
        return _of_top(text.top_ids[rows], truth, floor, got)
    values = got.double() - got.double().logsumexp(dim=-1, keepdim=True)
    top = text.top_ids[rows].long()
    rest = values.scatter(1, top, -torch.inf).logsumexp(dim=-1, keepdim=True)
    return kl(truth, torch.cat([values.gather(1, top), rest], dim=-1)), kl(truth, floor)


def kl(truth: Tensor, other: Tensor) -> Tensor:
    """KL [R] of log-probabilities [R,N]; terms without probability in ``truth`` are zero."""
    return torch.where(truth == -torch.inf, 0.0, truth.exp() * (truth - other)).sum(dim=-1)


def _of_top(top_ids: Tensor, truth: Tensor, floor: Tensor, got: Top) -> tuple[Tensor, Tensor]:
    same = (top_ids[:, :, None] == got.ids[:, None, :]) & (got.ids >= 0)[:, None, :]  # [R,64,k]
    common = same.any(dim=-1)
    mass = torch.where(same, got.logprobs[:, None, :].double(), 0.0).sum(dim=-1)

    def lumped(values: Tensor) -> Tensor:
        kept = torch.where(common, values[:, :64], -torch.inf)
        rest = torch.log1p(-kept.exp().sum(dim=-1, keepdim=True).clamp(max=1 - 1e-12))
        return torch.cat([kept, rest], dim=-1)

    expected = lumped(truth)
    absent = ~(got.ids >= 0).any(dim=-1)
    divergences = [kl(expected, lumped(values)) for values in (torch.where(common, mass, -torch.inf), floor)]
    return divergences[0].masked_fill(absent, torch.nan), divergences[1].masked_fill(absent, torch.nan)


def prefill_outcome(request: Request, got: Prefilled, first: int, circumstances: Circumstances) -> Outcome:
    """``got`` are logits at the request's positions from ``first`` to its last, or Top of all."""
    first = 0 if isinstance(got, Top) else first
    engine, floor = divergences(request.text, first, got)
    present = ~floor.isnan()
    limit = request.text.kl_limit[first : request.length]
    over = (present & ~(engine <= limit)).nonzero()[:, 0].tolist()
    used = float((engine / limit)[present].nan_to_num(torch.inf).max()) if present.any() else 0.0
    wrong = first + over[0] if over else None
    what, finite = "", bool(engine[present].isfinite().all())
    if over:
        value, most = float(engine[over[0]]), float(limit[over[0]])
        what = f"KL to HF is {value:.2g} nats at position {wrong}, HF bfloat16's noise allows {most:.2g}"
        if not engine[over[0]].isfinite():
            what = f"the logits of position {wrong} are NaN or infinite"
    sums = [max(0.0, float(column[present].sum())) for column in (engine, floor)]  # rounding makes some below 0
    return _outcome(
        "prefill", request, circumstances, request.length - 1, int(present.sum()), wrong, used, sums, what, finite
    )


def tokens_outcome(
    request: Request,
    got: Sequence[int],
    count: int,
    circumstances: Circumstances,
    phase: str = "greedy",
    expected: Sequence[int] = (),
) -> Outcome:
    """``got`` is the answer where ``count`` tokens were asked for; HF is sure of ``expected``, the request's own.

    Tokens behind these are not looked at; an answer that is too short must end with a stop token.
    """
    expected = list(expected or request.answer)[:count]
    step = next((index for index, token in enumerate(expected) if list(got[index : index + 1]) != [token]), None)
    what = ""
    if step is not None and step < len(got):
        what = f"token {step + 1} after {request.length} is {got[step]}, HF is sure of {expected[step]}"
    elif step is not None or len(got) > count:
        step, what = min(len(got), count), f"gave {len(got)} tokens after {request.length}, not {count}"
    elif expected and len(got) < count and got[-1] not in request.text.stops and len(got) > len(expected):
        step, what = len(got), f"gave {len(got)} tokens after {request.length}, not {count}, and the last is no stop"
    if phase == "greedy" and step is not None and (step >= len(got) or step >= len(expected)):
        phase = "stop"  # its tokens are right, its length is not
    wrong = None if step is None else request.length + step
    last = request.length + max(len(expected), 1) - 1
    return _outcome(phase, request, circumstances, last, len(expected), wrong, 0.0, [0.0, 0.0], what)


def _outcome(
    phase: str, request: Request, circumstances: Circumstances, last: int, positions: int, wrong: int | None,
    used: float, sums: Sequence[float], what: str, finite: bool = True,
) -> Outcome:  # fmt: skip
    return {
        "phase": phase,
        "batch": circumstances.batch,
        "row": circumstances.row,
        "ragged": circumstances.ragged,
        "after": list(circumstances.after),
        "before": circumstances.before,
        "together": circumstances.together,
        "document": request.text.number,
        "length": request.length,
        "last": last,
        "positions": positions,
        "wrong_at": wrong,
        "used": min(used, 1e30),
        "kl": min(sums[0], 1e30),
        "kl_floor": sums[1],
        "what": what,
        "finite": finite,
    }
