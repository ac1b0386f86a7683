"""Contract checks of ``lm_head`` beyond its cases; each returns a violation or None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from braidcheck.op import Op

VOCABULARY = 20000  # tokens: each program has several blocks of them


def check_ties(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """Row 0 has the same best logit in every block, several times in each."""
    generator = torch.Generator().manual_seed(5)
    x, weight = (torch.randn(count, 32, generator=generator).to(torch.bfloat16) for count in (3, VOCABULARY))
    weight[130::64] = 9 * x[0]
    for how, best in _best(call, x, weight, device).items():
        if best[0] != 130:
            return f"{how}: token {best[0]} of the equal 130, 194, 258, ... is called best"
    return None


def check_negative_logits(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """No padding of a block, whose logit is 0, is best."""
    generator = torch.Generator().manual_seed(6)
    x, weight = (torch.rand(count, 32, generator=generator).to(torch.bfloat16) + 0.1 for count in (3, 700))
    expected = (-x.double() @ weight.double().T).topk(2).indices.tolist()
    for how, tokens in _best(call, -x, weight, device).items():
        wrong = [token for token, best in zip(tokens, expected, strict=True) if token not in best]
        if wrong:
            return f"{how}: token {wrong[0]} of 700 negative logits is called best"
    return None


def check_row_of_nan(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """A row of NaN gives token 0 and leaves its neighbours alone."""
    generator = torch.Generator().manual_seed(8)
    x, weight = (torch.randn(count, 32, generator=generator).to(torch.bfloat16) for count in (3, 700))
    whole = _best(call, x, weight, device)
    x[1] = torch.nan
    for how, best in _best(call, x, weight, device).items():
        expected = [whole[how][0], 0, whole[how][2]]
        if best != expected:
            return f"{how}: with a row of NaN tokens {best} are best, must be {expected}"
    return None


def check_infinite_logits(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """Logits of minus infinity lead to a token of the vocabulary, and to none of them beside a finite one; a NaN is the
    best beside infinity too."""
    x = (torch.rand(3, 32, generator=torch.Generator().manual_seed(9)) + 0.1).to(torch.bfloat16)
    weight = torch.full((700, 32), -torch.inf, dtype=torch.bfloat16)
    for token, value, later in ((0, -torch.inf, -torch.inf), (699, -1.0, -1.0), (300, torch.nan, torch.inf)):
        weight[token], weight[699] = value, later
        for how, best in _best(call, x, weight, device).items():
            if best != [token] * 3:
                return f"{how}: tokens {best} are best, must be {token} of {value}: the last is {later}, others -inf"
    return None


def check_close_logits(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """Logits 2**-11 apart, which are equal in bfloat16."""
    generator = torch.Generator().manual_seed(7)
    x, weight = (torch.randn(count, 32, generator=generator) for count in (3, 700))
    for row, (better, worse) in enumerate(((400, 130), (650, 140), (7, 500))):
        weight[worse] = 9 * x[row]
        weight[better] = 9 * (1 + 2**-11) * x[row]
    for how, best in _best(call, x, weight, device).items():
        if best != [400, 650, 7]:
            return f"{how}: tokens {best} are called best, not [400, 650, 7], by half of 2**-10"
    return None


def _best(call: Callable[..., Any], x: torch.Tensor, weight: torch.Tensor, device: str) -> dict[str, list[int]]:
    """The best token of each row of x from one call, row by row, and from a larger batch: kernels may differ."""
    rest = torch.ones(x.shape[1], dtype=x.dtype, device=device), weight.to(device), 1e-6

    def tokens(rows: torch.Tensor) -> list[int]:
        return call(rows.to(device), *rest, argmax=True).tolist()

    alone = [tokens(row[None])[0] for row in x]
    return {"together": tokens(x), "one by one": alone, "in a crowd": tokens(x.repeat(9, 1))[: len(x)]}


CONTRACT_CHECKS = {
    "the lowest of equal logits is the best": check_ties,
    "the best of negative logits is in the vocabulary": check_negative_logits,
    "a row of NaN gives a token of the vocabulary": check_row_of_nan,
    "the best of infinite logits is in the vocabulary": check_infinite_logits,
    "of logits that are equal in bfloat16 the larger is the best": check_close_logits,
}
