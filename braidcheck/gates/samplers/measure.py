"""Draws tokens by an engine and finds their places in HF's own distribution, which is computed here in float32."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from braidcheck.engines.client import Client
from braidcheck.engines.process import EngineError
from braidcheck.gates.samplers.evidence import Draws, Evidence
from braidcheck.gates.surfaces.truth import SURE_SIGMA, Text
from braidcheck.golden.hf import Reference
from braidcheck.golden.readings import best_ids, noise
from braidcheck.numerics.sampling import probabilities

After = Callable[[list[int], list[int]], list[tuple[Tensor, float]]]
Logits = Callable[[list[int]], tuple[Tensor, Tensor]]
BINS = 8
PROMPTS, RANDOM_PROMPTS, PROMPT, TOKENS = 4, 8, 24, 28
"""Most prompts are random tokens: after a text that it knows, a model chooses between like ones or not at all."""

TYPICAL_QUANTILE = 0.95  # as golden.store.typical_noise
MAX_SURE = 0.95  # of the best token's probability, from which on a draw says nothing


@dataclass(frozen=True)
class Setting:
    """What a sampler is told; 0 and 1 are "no limit", as in `engines.protocol.Sampler`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


SETTINGS = {
    "temperature 1": Setting(),
    "temperature 0.3": Setting(0.3),
    "temperature 2": Setting(2.0),
    "top-k 3": Setting(2.0, top_k=3),
    "top-p 0.7": Setting(2.0, top_p=0.7),
    "min-p 0.2": Setting(2.0, min_p=0.2),
}
GREEDY, SEEDS = "greedy tokens under HF", "seeds"
NAMES = (GREEDY, *SETTINGS, SEEDS)
"""Limits are asked for at a high temperature, at which without them many tokens would lie outside."""


def measure_samplers(
    client: Client, texts: Sequence[Text], logits: Logits, evidence: Evidence, say: Callable[[str], None]
) -> None:
    """Add to ``evidence`` each setting's draws.

    ``logits(ids)`` are HF's in float32 [T,V], and HF bfloat16's worst error of one [T].
    """
    draw, vocab = random.Random(0), client.vocab
    prompts = [text.ids[:PROMPT].tolist() for text in texts if len(text) > PROMPT][:PROMPTS]
    start = texts[0].ids[:1].tolist()  # a model that was never without it overflows
    drawn = [[*start, *(draw.randrange(vocab) for _ in range(PROMPT - 1))] for _ in range(RANDOM_PROMPTS)]

    # After random tokens bfloat16 errs more than in the golden's text.
    noises = torch.cat([logits(prompt)[1] for prompt in drawn])
    typical = texts[0].typical
    typical_drawn = max(typical, float(noises.quantile(TYPICAL_QUANTILE)))

    def after(prompt: list[int], answer: list[int]) -> list[tuple[Tensor, float]]:
        """Logits [V] at each step of an answer, and how far two may be apart that are equal to bfloat16."""
        rows, noise = logits([*prompt, *answer])
        apart = SURE_SIGMA * noise.clamp_min(typical_drawn if prompt in drawn else typical)
        return list(zip(rows[len(prompt) - 1 : -1].float(), apart[len(prompt) - 1 : -1].tolist(), strict=True))

    stops = texts[0].stops

    def add(name: str, measure: Callable[[], Draws], method: str) -> None:
        say(f"samplers: {name}")
        began = time.monotonic()
        if method not in client.methods:
            found: Draws = {"skipped": f"the engine has no {method}"}
        else:
            try:
                found = measure()
            except EngineError as how:
                found = {"error": str(how)}
        evidence["draws"].append({**found, "name": name, "seconds": time.monotonic() - began})

    add(GREEDY, lambda: _greedy(client, prompts + drawn, after, stops), "generate")
    for name, setting in SETTINGS.items():
        add(name, lambda setting=setting: _drawn(client, prompts + drawn, after, stops, setting), "sample")  # type: ignore[misc]
    add(SEEDS, lambda: _seeds(client, prompts[0]), "sample")


def _greedy(client: Client, prompts: Sequence[list[int]], after: After, stops: Sequence[int]) -> Draws:
    """How far each greedy token's logit is below HF's best, over what noise allows."""
    tokens, outside, worst, what = 0, 0, 0.0, ""
    for prompt in prompts:
        answer = client.generate(prompt, TOKENS)
        _check_length(answer, stops, client)
        tokens += len(answer)
        for step, (token, (row, apart)) in enumerate(zip(answer, after(prompt, answer), strict=True), 1):
            gap = float(row.max() - row[token])
            worst = max(worst, gap / apart)
            outside += gap > apart
            if gap > apart and not what:
                what = f"token {step} of an answer is {gap:.3g} below HF's best logit, noise allows {apart:.3g}"
    return {"tokens": tokens, "outside": outside, "what": what, "worst": worst}


def _drawn(
    client: Client, prompts: Sequence[list[int]], after: After, stops: Sequence[int], setting: Setting
) -> Draws:  # fmt: skip
    """Places of drawn tokens in HF's distribution, made uniform by a draw inside of each token's own share."""
    draw = random.Random(str(setting))  # other seeds for each setting, the same in each run
    bins, outside, tokens, what = [0] * BINS, 0, 0, ""
    for prompt in prompts:
        drawn = client.sample(prompt, TOKENS, **asdict(setting), seed=draw.randrange(1 << 31))
        _check_length(drawn, stops, client)
        tokens += len(drawn)
        for token, (row, apart) in zip(drawn, after(prompt, drawn), strict=True):
            share, before, most = place(row, token, setting)
            if not allowed(row, token, setting, apart):
                outside += 1
                rank = int((row > row[token]).sum()) + 1
                what = what or f"the token of rank {rank} is drawn, which {_said(setting)} rules out"
            elif most < MAX_SURE and share:  # what noise alone brought inside the limits has no place among HF's
                bins[min(BINS - 1, int((before + share * draw.random()) * BINS))] += 1
    return {"tokens": tokens, "bins": bins, "outside": outside, "what": what}


def _check_length(tokens: Sequence[int], stops: Sequence[int], client: Client) -> None:
    """Raises EngineError for an answer that is too short or has tokens that are none."""
    ended = len(tokens) < TOKENS and (not client.claims["includes_stop"] or (tokens and tokens[-1] in stops))
    if len(tokens) != TOKENS and not ended:
        raise EngineError(f"gave {len(tokens)} tokens, {TOKENS} were wanted")
    if wrong := [token for token in tokens if not 0 <= token < client.vocab]:
        raise EngineError(f"gave the token {wrong[0]}, the model has {client.vocab}")
    if not tokens:
        raise EngineError("gave no token")


def _seeds(client: Client, prompt: list[int]) -> Draws:
    """The same seed gives the same tokens, others give others."""
    answers = [client.sample(prompt, TOKENS, **asdict(Setting(2.0)), seed=seed) for seed in (1, 1, 2, 3)]
    what, outside = "the same seed gives the same tokens, and others give others", 0
    if answers[0] != answers[1]:
        what, outside = "the same seed gives other tokens", TOKENS
    elif answers[0] == answers[2] == answers[3]:
        what, outside = "seeds 1, 2 and 3 give the same tokens", TOKENS
    return {"tokens": sum(map(len, answers)), "outside": outside, "what": what}


def logits_and_noise(runs: Sequence[Reference], ids: list[int]) -> tuple[Tensor, Tensor]:
    """HF's logits [T,V], of its ``runs`` in float32 and bfloat16, and the second's worst error [T] among the best."""
    truth, floor = (run.logits(torch.tensor(ids)).float() for run in runs)
    top = best_ids(truth)
    return truth, noise(truth.gather(1, top), floor.gather(1, top))


def place(row: Tensor, token: int, setting: Setting) -> tuple[float, float, float]:
    """A token's probability, that of all more probable ones (of equal ones those of lower id), and the best's."""
    exact = probabilities(row, **asdict(setting))
    mine = exact[token]
    first = (exact > mine) | ((exact == mine) & (torch.arange(len(row)) < token))
    return float(mine), float(exact[first].sum()), float(exact.max())


def allowed(row: Tensor, token: int, setting: Setting, apart: float) -> bool:
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
        probabilities = (values / setting.temperature).softmax(-1)
        return float(probabilities[values > values[token] + apart].sum()) < odds / (1 + odds)
    return True


def _log(value: float) -> float:
    return float(torch.tensor(value).double().log())


def _said(setting: Setting) -> str:
    limits = {name: value for name, value in asdict(setting).items() if getattr(Setting(), name) != value}
    return ", ".join(f"{name} {value}" for name, value in limits.items() if name != "temperature" or len(limits) == 1)
