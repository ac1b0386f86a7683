"""Whether drawn answers end at a stop token: one of our own, since a model may never draw its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict

from braidcheck.engines.client import Client
from braidcheck.gates.samplers.evidence import Draws
from braidcheck.gates.samplers.limits import Setting

WithStop = Callable[[int], Client]
PLAIN_DRAWS = Setting()


def measure_stops(
    client: Client, with_stop: WithStop, prompts: Sequence[list[int]], stops: Sequence[int], count: int
) -> Draws:
    """Draw answers, name a token that comes in the middle of some of them as a stop token, and draw them again.

    It is named by the keyword ``stop`` of ``sample``, or in the config of a second engine's model.
    """
    free = [client.sample(prompt, count, **asdict(PLAIN_DRAWS), seed=index) for index, prompt in enumerate(prompts)]
    inside = Counter(token for answer in free for token in {*answer[1:-1]} - {answer[0], answer[-1], *stops})
    if not inside:
        return {"unknown": "no drawn answer has a token in its middle that could end it"}
    token = max(inside, key=lambda token: (inside[token], -token))
    if "sample" in client.stops:
        answers = [client.sample(prompt, count, **asdict(PLAIN_DRAWS), seed=index, stop=[token])
                   for index, prompt in enumerate(prompts)]  # fmt: skip
        kept = _kept(client, prompts, free, answers, token)
        return kept or _draws(answers, token, stops, count, client.claims["includes_stop"])
    other = with_stop(token)
    try:
        answers = [
            other.sample(prompt, count, **asdict(PLAIN_DRAWS), seed=index) for index, prompt in enumerate(prompts)
        ]
    finally:
        other.close()
    return _draws(answers, token, stops, count, client.claims["includes_stop"])


def _kept(
    client: Client, prompts: Sequence[list[int]], free: Sequence[list[int]], answers: Sequence[list[int]], token: int
) -> Draws | None:  # fmt: skip
    """What is wrong if an answer ends at the stop token that only earlier requests named: None if nothing is."""
    at = next((at for at, answer in enumerate(answers) if answer != free[at]), 0)
    drawn = client.sample(prompts[at], len(free[at]), **asdict(PLAIN_DRAWS), seed=at)
    if drawn != answers[at] or drawn == free[at]:
        return None
    what = f"an answer ends at the stop token {token}, which only earlier requests named"
    return {"tokens": len(drawn), "outside": 1, "what": what}


def _draws(answers: Sequence[list[int]], token: int, stops: Sequence[int], count: int, included: bool) -> Draws:
    behind = sum(len(answer) - 1 - answer.index(token) for answer in answers if token in answer)
    short = [answer for answer in answers if len(answer) < count]
    dropped = [answer for answer in short if included and not {*answer[-1:]} & {token, *stops}]
    tokens = sum(map(len, answers))
    if behind:
        return {"tokens": tokens, "outside": behind, "what": f"an answer goes on behind the stop token {token}"}
    if dropped:
        what = f"an answer of {len(dropped[0])} tokens ends before {count} without a stop token"
        return {"tokens": tokens, "outside": len(dropped), "what": what}
    ended = sum(answer[-1:] == [token] for answer in answers) if included else len(short)
    if not ended:
        return {"unknown": f"none of {len(answers)} drawn answers came to the stop token {token}"}
    return {"tokens": tokens, "outside": 0, "what": f"{ended} of {len(answers)} drawn answers end at a stop token"}
