"""Drawn answers of an engine, held to their length and to the model's vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from braidcheck.engines.client import Client
from braidcheck.engines.process import EngineError
from braidcheck.gates.samplers.limits import Setting


def check_length(tokens: Sequence[int], stops: Sequence[int], client: Client, count: int) -> None:
    """Raises EngineError for an answer that is too short or has tokens that are none."""
    ended = len(tokens) < count and (not client.claims["includes_stop"] or (tokens and tokens[-1] in stops))
    if len(tokens) != count and not ended:
        raise EngineError(f"gave {len(tokens)} tokens, {count} were wanted")
    if wrong := [token for token in tokens if not 0 <= token < client.vocab]:
        raise EngineError(f"gave the token {wrong[0]}, the model has {client.vocab}")
    if not tokens:
        raise EngineError("gave no token")


def one_token(client: Client, prompt: list[int], stops: Sequence[int], setting: Setting, seed: int) -> int:
    """One drawn token; of an engine that leaves stop tokens out, no token is one."""
    drawn = client.sample(prompt, 1, **asdict(setting), seed=seed)
    if not drawn and stops and not client.claims["includes_stop"]:
        return stops[0]
    check_length(drawn, stops, client, 1)
    return drawn[0]
