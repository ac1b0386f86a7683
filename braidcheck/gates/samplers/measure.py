"""Draws tokens by an engine and finds their places in HF's own distribution, which is computed here in float32."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, partial

import torch
from torch import Tensor

from braidcheck.engines.client import Client
from braidcheck.engines.process import EngineError
from braidcheck.gates.samplers.answers import check_length, one_token
from braidcheck.gates.samplers.dependence import best_draws, dependent_draws, flat_answers
from braidcheck.gates.samplers.evidence import Draws, Evidence
from braidcheck.gates.samplers.kept_tokens import KEPT_TWO, Step, in_words, measure_kept
from braidcheck.gates.samplers.limits import TWO_TEMPERATURE, Setting, allowed, place
from braidcheck.gates.samplers.seeds import After, measure_seeds
from braidcheck.gates.samplers.stops import WithStop, measure_stops
from braidcheck.gates.surfaces.ask import NotServed
from braidcheck.gates.surfaces.truth import SURE_SIGMA, Text
from braidcheck.golden.hf import Reference
from braidcheck.golden.readings import best_ids, noise

Logits = Callable[[list[int]], tuple[Tensor, Tensor]]
BINS = 8
PROMPTS, RANDOM_PROMPTS, PROMPT, TOKENS = 4, 8, 24, 28
"""Most prompts are random tokens: after a text that it knows, a model is sure of one token, or of a few like ones."""

TYPICAL_QUANTILE = 0.95  # as golden.store.typical_noise
MAX_SURE = 0.95  # of the best token's probability, from which on a draw says nothing


SETTINGS = {
    "temperature 1": Setting(),
    "temperature 0.3": Setting(0.3),
    "temperature 2": Setting(2.0),
    # filters at a high temperature: without them many tokens would lie outside
    "top-k 3": Setting(2.0, top_k=3),
    "top-p 0.7": Setting(2.0, top_p=0.7),
    "min-p 0.2": Setting(2.0, min_p=0.2),
}
GREEDY, LONG, SEEDS = "greedy tokens under HF", "long greedy answers under HF", "seeds"
FIRST_TOKENS, TOGETHER = "first tokens of many seeds", "all draws together"
BEST, DEPENDENT, STOPS = "how often the best token is drawn", "draws that repeat others", "drawn stop tokens"
NAMES = (GREEDY, LONG, *SETTINGS, *KEPT_TWO, FIRST_TOKENS, TOGETHER, BEST, DEPENDENT, SEEDS, STOPS)
LAST_TEXTS, LAST_LENGTH = 10, 96
LONG_TOKENS = 144  # behind the pages that a cache takes at first
FIRST_DRAWS = 192


def measure_samplers(
    client: Client, texts: Sequence[Text], logits: Logits, evidence: Evidence, say: Callable[[str], None], longest: int,
    with_stop: WithStop,
) -> None:  # fmt: skip
    """Add to ``evidence`` each setting's draws.

    ``logits(ids)`` are HF's in float32 [T,V], and HF bfloat16's worst error of one [T]; model and engine
    take ``longest`` tokens; ``with_stop(token)`` starts an engine whose model ends answers at ``token``.
    """
    known = [text.ids[:PROMPT].tolist() for text in texts if len(text) > PROMPT][:PROMPTS]
    unknown = _random_prompts(texts, client.vocab)
    prompts, stops = known + unknown, texts[0].stops
    after = _after(texts, unknown, logits)
    add = partial(_add, client, evidence, say)

    add(GREEDY, lambda: _greedy(client, prompts, after, stops, TOKENS))
    long = min(LONG_TOKENS, longest - PROMPT)
    add(LONG, lambda: _greedy(client, [unknown[0], unknown[-1]], after, stops, long))
    add = partial(add, method="sample")
    for name, setting in SETTINGS.items():
        add(name, partial(_drawn, client, prompts, after, stops, setting))
    steps = [step for text in texts[:LAST_TEXTS] for step in _steps(text, logits)]
    for index, name in enumerate(KEPT_TWO):
        add(name, partial(measure_kept, client, steps, stops, index))
    add(FIRST_TOKENS, lambda: _first(client, steps, stops))
    add(TOGETHER, lambda: _together(evidence["draws"]))
    flat = cache(lambda: flat_answers(client, unknown, TOKENS, stops, after))
    add(BEST, lambda: best_draws(flat()))
    add(DEPENDENT, lambda: dependent_draws(flat()))
    add(SEEDS, lambda: measure_seeds(client, unknown[0], after, TOKENS))
    add(STOPS, lambda: measure_stops(client, with_stop, prompts, stops, TOKENS))


def _random_prompts(texts: Sequence[Text], vocab: int) -> list[list[int]]:
    draw = random.Random(0)
    start = texts[0].ids[:1].tolist()  # a model that was never without it overflows
    return [[*start, *(draw.randrange(vocab) for _ in range(PROMPT - 1))] for _ in range(RANDOM_PROMPTS)]


def _after(texts: Sequence[Text], unknown: Sequence[list[int]], logits: Logits) -> After:
    """What gives logits [V] at each step of an answer, and how far two may be apart that are equal to bfloat16."""
    typical = texts[0].typical
    # After random tokens bfloat16 errs more than in the golden's text.
    noises = torch.cat([logits(prompt)[1] for prompt in unknown])
    typical_unknown = max(typical, float(noises.quantile(TYPICAL_QUANTILE)))

    def after(prompt: list[int], answer: list[int]) -> list[tuple[Tensor, float]]:
        rows, noise = logits([*prompt, *answer])
        apart = SURE_SIGMA * noise.clamp_min(typical_unknown if prompt in unknown else typical)
        return list(zip(rows[len(prompt) - 1 : -1].float(), apart[len(prompt) - 1 : -1].tolist(), strict=True))

    return after


def _add(
    client: Client, evidence: Evidence, say: Callable[[str], None],
    name: str, measure: Callable[[], Draws], method: str = "generate",
) -> None:  # fmt: skip
    """Add the draws of ``measure()``, or why there are none, to the evidence."""
    say(f"samplers: {name}")
    began = time.monotonic()
    if method not in client.methods:
        draws: Draws = {"skipped": f"the engine has no {method}"}
    else:
        try:
            draws = measure()
        except NotServed as why:
            draws = {"skipped": str(why)}
        except EngineError as how:
            draws = {"error": str(how)}
    evidence["draws"].append({**draws, "name": name, "seconds": time.monotonic() - began})


def _steps(text: Text, logits: Logits) -> list[Step]:
    """The beginnings of a text, HF's logits [V] after each, and how far two may be apart that are equal to bfloat16."""
    ids = text.ids[:LAST_LENGTH].tolist()
    rows, noise = logits(ids)
    apart = (SURE_SIGMA * noise.clamp_min(text.typical)).tolist()
    return [(ids[: index + 1], rows[index].float(), apart[index]) for index in range(len(ids))]


def _greedy(client: Client, prompts: Sequence[list[int]], after: After, stops: Sequence[int], count: int) -> Draws:
    """How far each greedy token's logit is below HF's best, over what noise allows."""
    tokens, outside, worst, what = 0, 0, 0.0, ""
    for prompt in prompts:
        answer = client.generate(prompt, count)
        check_length(answer, stops, client, count)
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
        check_length(drawn, stops, client, TOKENS)
        tokens += len(drawn)
        if ends := [index for index, token in enumerate(drawn[:-1], 1) if token in stops]:
            outside += len(drawn) - ends[0]
            what = what or f"an answer goes on behind the stop token {drawn[ends[0] - 1]}"
        for token, (row, apart) in zip(drawn, after(prompt, drawn), strict=True):
            share, before, most = place(row, token, setting)
            if not allowed(row, token, setting, apart):
                outside += 1
                rank = int((row > row[token]).sum()) + 1
                what = what or f"the token of rank {rank} is drawn, which {in_words(setting)} rules out"
            elif most < MAX_SURE and share:  # what noise alone brought inside the limits has no place among HF's
                bins[min(BINS - 1, int((before + share * draw.random()) * BINS))] += 1
    return {"tokens": tokens, "bins": bins, "outside": outside, "what": what}


def _first(client: Client, steps: Sequence[Step], stops: Sequence[int]) -> Draws:
    """Places of the first tokens of consecutive seeds, at the step where a sampler that always takes the best token
    would stand out most from the noise."""
    draw, bins, setting = random.Random(FIRST_TOKENS), [0] * BINS, Setting(TWO_TEMPERATURE)
    shares = [float((row.double() / TWO_TEMPERATURE).softmax(-1).max()) for _, row, _ in steps]
    far = [math.sqrt(1 / share - 1) - math.expm1(one[2] / TWO_TEMPERATURE)
           for share, one in zip(shares, steps, strict=True)]  # fmt: skip
    prompt, row, apart = steps[max(range(len(steps)), key=far.__getitem__)]
    for seed in range(FIRST_DRAWS):
        share, before, _ = place(row, one_token(client, prompt, stops, setting, seed), setting)
        bins[min(BINS - 1, int((before + share * draw.random()) * BINS))] += 1
    return {"tokens": FIRST_DRAWS, "bins": bins, "apart": apart / TWO_TEMPERATURE, "outside": 0, "what": ""}


def _together(draws: Sequence[Draws]) -> Draws:
    """The places of all settings' draws: a fault that each shows a little."""
    binned = [one for one in draws if one["name"] in SETTINGS and one.get("bins")]
    if not binned:
        return {"skipped": "there are no draws"}
    bins = [sum(column) for column in zip(*(one["bins"] for one in binned), strict=True)]
    return {"tokens": sum(one["tokens"] for one in binned), "bins": bins, "outside": 0, "what": ""}


def logits_and_noise(runs: Sequence[Reference], ids: list[int]) -> tuple[Tensor, Tensor]:
    """HF's logits [T,V], of its ``runs`` in float32 and bfloat16, and the second's worst error [T] among the best."""
    truth, floor = (run.logits(torch.tensor(ids)).float() for run in runs)
    top = best_ids(truth)
    return truth, noise(truth.gather(1, top), floor.gather(1, top))
