"""Whether limits that keep two tokens keep both and no third, and of which tokens a top-p beside a top-k is taken."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from braidcheck.engines.client import Client
from braidcheck.gates.samplers.answers import one_token
from braidcheck.gates.samplers.evidence import Draws
from braidcheck.gates.samplers.limits import Setting, allowed, conventions_differ, keeping_two, last_kept

Step = tuple[list[int], Tensor, float]
"""A prompt, HF's logits [V] after it, and how far two may be apart that are equal to bfloat16."""

KEPT_TWO = ("top-k that keeps two", "top-p that keeps two", "min-p that keeps two", "top-p of a top-k that keeps two")
"""In the order of `limits.keeping_two`, whose fifth is the last of these as SGLang applies it."""

SEQUENTIAL_INDEX, JOINT_INDEX = 3, 4  # in `limits.keeping_two`: top-p of what top-k keeps, and of all tokens
LAST_DRAWS, MIN_LAST = 128, 0.12
"""A right sampler draws a last token of that share 15 times or more on average: never at all has p = 3e-7."""

SEQUENTIAL = "top-p is taken of the tokens that top-k keeps, as by HF and vLLM"
JOINT = "top-p is taken of all tokens beside top-k, as by SGLang and FlashInfer's joint order"


@dataclass(frozen=True)
class _Request:
    """A step and limits that keep two tokens there: ``token`` is the last of them, of a share of ``least`` or more."""

    step: Step
    setting: Setting
    token: int
    least: float


def measure_kept(client: Client, steps: Sequence[Step], stops: Sequence[int], limit: int) -> Draws:
    """How often the second of two tokens is drawn that a limit keeps (in the order of KEPT_TWO)."""
    request = _request(steps, limit)
    if request is None:
        return {"skipped": f"in this text HF is nowhere sure of a second token of {100 * MIN_LAST:.0f}%"}
    drawn = _drawn(client, request, stops, limit)
    draws = _draws(request, drawn)
    if limit != SEQUENTIAL_INDEX:
        return draws
    if draws["outside"] and not _draws(request, drawn, joint=True)["outside"]:
        return _measure_joint(client, steps, stops) or draws
    return {**draws, "convention": SEQUENTIAL}


def _measure_joint(client: Client, steps: Sequence[Step], stops: Sequence[int]) -> Draws | None:
    """The same of a sampler that may take top-p of all tokens; None where it does not."""
    request = _request(steps, JOINT_INDEX, joint=True)
    if request is None:
        reason = "top-p of all tokens, which is allowed, and no top-p at all look the same in this text"
        return {"skipped": reason}
    draws = _draws(request, _drawn(client, request, stops, JOINT_INDEX), joint=True)
    return None if draws["outside"] else {**draws, "convention": JOINT}


def _request(steps: Sequence[Step], limit: int, joint: bool = False) -> _Request | None:
    """The request at the step whose last kept token is likeliest, among those where noise cannot rule it out; None if
    there is none."""
    requests = []
    for step in steps:
        _, row, apart = step
        setting = keeping_two(row)[limit]
        token, least = last_kept(row, setting, apart, joint)
        if least >= MIN_LAST and conventions_differ(row, setting, apart, joint):
            requests.append(_Request(step, setting, token, least))
    return max(requests, key=lambda request: request.least, default=None)


def _drawn(client: Client, request: _Request, stops: Sequence[int], limit: int) -> list[int]:
    draw, prompt = random.Random(limit), request.step[0]
    return [one_token(client, prompt, stops, request.setting, draw.randrange(1 << 31)) for _ in range(LAST_DRAWS)]


def _draws(request: _Request, drawn: Sequence[int], joint: bool = False) -> Draws:
    _, row, apart = request.step
    outside = sum(not allowed(row, token, request.setting, apart, joint) for token in drawn)
    what = f"a token is drawn that {in_words(request.setting)} rules out" if outside else ""
    return {
        "tokens": len(drawn), "bins": [], "outside": outside, "what": what, "last": list(drawn).count(request.token),
        "last_expected": request.least * len(drawn),
    }  # fmt: skip


def in_words(setting: Setting) -> str:
    """The limits of a setting, or its temperature where it has none."""
    limits = {name: value for name, value in asdict(setting).items() if getattr(Setting(), name) != value}
    return ", ".join(f"{name} {value}" for name, value in limits.items() if name != "temperature" or len(limits) == 1)
