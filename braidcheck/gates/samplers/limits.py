"""What temperature, top-k, top-p and min-p leave of HF's distribution, and of one that is off by bfloat16's noise.

Where top-k and top-p limit a draw together, HF takes top-p of the probabilities that top-k leaves. SGLang takes it of
all (FlashInfer's ``filter_apply_order="joint"``): ``joint`` is true.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from braidcheck.numerics.sampling import probabilities

TWO_TEMPERATURE = 4.0


@dataclass(frozen=True)
class Setting:
    """The settings of a sampler; 0 and 1 are "no limit", as in `engines.protocol.Sampler`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


def place(row: Tensor, token: int, setting: Setting) -> tuple[float, float, float]:
    """A token's probability, that of all more probable ones (of equal ones those of lower id), and the best's."""
    exact = probabilities(row, **asdict(setting))
    mine = exact[token]
    first = (exact > mine) | ((exact == mine) & (torch.arange(len(row)) < token))
    return float(mine), float(exact[first].sum()), float(exact.max())


def allowed(row: Tensor, token: int, setting: Setting, apart: float, joint: bool = False) -> bool:
    """Whether an engine can draw the token if its logits, less one another, are up to ``apart`` from HF's.

    The odds of any set of tokens then differ by a factor of up to exp(apart / temperature), and what is less than
    ``apart`` above the token may be below it.
    """
    values = row.double()
    if setting.top_k and values[token] < values.topk(setting.top_k).values[-1] - apart:
        return False
    if setting.min_p and values[token] < values.max() + setting.temperature * _log(setting.min_p) - apart:
        return False
    if setting.top_p < 1:
        odds = setting.top_p / (1 - setting.top_p) * float(torch.tensor(apart / setting.temperature).exp())
        weights = (values / setting.temperature).softmax(-1)
        return _share_of(weights, values > values[token] + apart, 0 if joint else setting.top_k) < odds / (1 + odds)
    return True


def keeping_two(row: Tensor) -> tuple[Setting, Setting, Setting, Setting, Setting]:
    """Limits that keep the two best tokens, as far from one and from three as they can.

    A top-k, a top-p, a min-p, a top-k of three with a top-p of these three, and one with a top-p of all tokens. At a
    temperature at which noise moves probabilities little.
    """
    best = (row.double() / TWO_TEMPERATURE).softmax(-1).topk(3).values.tolist()
    top_p, min_p = best[0] + best[1] / 2, math.sqrt(best[1] * best[2]) / best[0]
    hot = Setting(TWO_TEMPERATURE)
    sequential, joint = replace(hot, top_k=3, top_p=top_p / sum(best)), replace(hot, top_k=3, top_p=top_p)
    return replace(hot, top_k=2), replace(hot, top_p=top_p), replace(hot, min_p=min_p), sequential, joint


def conventions_differ(row: Tensor, setting: Setting, apart: float, joint: bool = False) -> bool:
    """Whether a draw can tell by which convention top-p is taken.

    The other one, or of ``joint`` no top-p at all, keeps a token that noise cannot bring inside of this one's limits.
    """
    if not setting.top_k or setting.top_p == 1:
        return True  # there is one
    before = probabilities(row, **asdict(Setting(setting.temperature) if joint else replace(setting, top_k=0)))
    best = row.topk(setting.top_k).indices.tolist()
    return any(before[token] > 0 and not allowed(row, token, setting, apart, joint) for token in best)


def last_kept(row: Tensor, setting: Setting, apart: float, joint: bool = False) -> tuple[int, float]:
    """The least probable token that limits keep, and the least probability that an engine within ``apart`` gives it.

    0 where there is no limit, where it keeps one token, or where such an engine can rule the token out.
    """
    exact = _joint(row, setting) if joint else probabilities(row, **asdict(setting))
    kept = (exact > 0).nonzero()[:, 0]
    token = int(kept[exact[kept].argmin()])
    if len(kept) < 2 or len(kept) == len(row):
        return token, 0.0
    values, most = row.double(), math.exp(apart / setting.temperature)
    others = values > values[token] - apart
    others[token] = False
    if setting.top_k and int(others.sum()) >= setting.top_k:
        return token, 0.0
    if setting.min_p and values[token] < values.max() + setting.temperature * _log(setting.min_p) + apart:
        return token, 0.0
    if setting.top_p < 1:
        before = _share_of((values / setting.temperature).softmax(-1), others, 0 if joint else setting.top_k)
        if before * most / (before * most + 1 - before) >= setting.top_p:
            return token, 0.0
    share = float(exact[token])
    return token, share / (share + (1 - share) * most)


def _joint(row: Tensor, setting: Setting) -> Tensor:
    """The probability [V] of each token that both top-k and top-p, each taken of all tokens, leave."""
    by_top_p = probabilities(row, **asdict(replace(setting, top_k=0))) > 0
    both = probabilities(row, **asdict(replace(setting, top_p=1.0))) * by_top_p
    return both / both.sum()


def _share_of(weights: Tensor, which: Tensor, top_k: int) -> float:
    """The probability of the tokens ``which``, all of the most probable ones, among the ``top_k`` that are kept."""
    return min(1.0, float(weights[which].sum() / (weights.topk(top_k).values.sum() if top_k else 1)))


def _log(value: float) -> float:
    return float(torch.tensor(value).double().log())
