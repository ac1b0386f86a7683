"""Published perplexities: a recording of the same model and text must be close to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Any, TypedDict

import torch

from braidcheck.errors import GoldenError
from braidcheck.golden.hf import Reference
from braidcheck.golden.texts import WIKITEXT_ORIGIN, Text, windows

MAX_DIFFERENCE = 0.01  # fraction of the published perplexity, as its precision allows


@dataclass(frozen=True)
class Figure:
    """The perplexity of ``model`` on all of a running text of ``origin``, in windows of 1,024 tokens."""

    model: str
    origin: str
    perplexity: float
    source: str


FIGURES = (
    Figure("Qwen/Qwen3-0.6B", WIKITEXT_ORIGIN, 23.864, "vLLM, tests/models/language/generation_ppl_test/test_qwen.py"),
)


class Published(TypedDict):
    """A published figure in a golden's manifest."""

    perplexity: float
    published: float
    source: str


def of(model: str, origin: str) -> Figure | None:
    """The published figure for a model on a text, if any."""
    return next((figure for figure in FIGURES if (figure.model, figure.origin) == (model, origin)), None)


def check(figure: Figure, run: Reference, text: Text, tokenizer: Any, say: Callable[[str], None]) -> Published:
    """The manifest's entry on the figure, from ``run`` over all of the text. Raises GoldenError if the perplexity
    differs.
    """
    total, tokens, whole = 0.0, 0, windows(text, tokenizer, run.max_tokens)
    for number, window in enumerate(whole, 1):
        say(f"golden: published perplexity, window {number} of {len(whole)}")
        ids = torch.tensor(window.ids)
        rows = run.logits(ids)[:-1].float()
        total += float(torch.nn.functional.cross_entropy(rows, ids[1:].to(rows.device), reduction="sum"))
        tokens += len(ids) - 1
    perplexity = exp(total / tokens)
    if abs(perplexity / figure.perplexity - 1) > MAX_DIFFERENCE:
        raise GoldenError(
            f"perplexity of {figure.model} on {text.origin} is {perplexity:.5g}, published is "
            f"{figure.perplexity:g} ({figure.source}), and they may be {MAX_DIFFERENCE:.0%} apart: check weights, "
            "text and the version of transformers"
        )
    return {"perplexity": perplexity, "published": figure.perplexity, "source": figure.source}
