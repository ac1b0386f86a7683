"""Decode steps and prompts of a tiny model: real sequences of launches, recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.gate import Check
from braidcheck.gates.races.measure import first_race
from braidcheck.gates.races.recording import recorded
from braidcheck.gates.under_test import module
from braidcheck.models.architecture import Architecture
from braidcheck.settings import PRODUCTION

CAPACITY = 150  # slots of a row: several splits of the decode attention
CACHED = (140, 3, 70)  # tokens of each row
Modules = Callable[[str], Any]  # returns a module by its name in a package
STEPS = 2  # the second reads the first's cache entries and counters
PROMPT = 32  # tokens: one of the lengths that have a graph, long enough for persistent projections


@dataclass(frozen=True)
class Step:
    """One way to decode: an attention backend, so many rows, a dtype, greedy or sampled; or a ``prompt``."""

    attention: str
    rows: int
    dtype: torch.dtype = torch.bfloat16
    temperature: float = 0.0
    prompt: bool = False

    def __str__(self) -> str:
        sampled = ", sampled" if self.temperature else ""
        what = f"prompt of {PROMPT}" if self.prompt else f"{self.rows} row{'s' * (self.rows > 1)}"
        return f"{self.attention}, {what}, {str(self.dtype).removeprefix('torch.')}{sampled}"


def steps(architecture: Architecture) -> list[Step]:
    """The recorded steps: the production backend with GEMVs and sampling, the others with tiled projections; and
    prompts that have a graph."""
    others = [Step(attention, 3, torch.float32) for attention in architecture.attentions if attention != PRODUCTION]
    prompts = [Step(attention, 1, prompt=True) for attention in architecture.attentions]
    return [Step(PRODUCTION, 1), Step(PRODUCTION, 3), Step(PRODUCTION, 2, temperature=0.8), *others, *prompts]


def step_checks(architecture: Architecture) -> Iterator[tuple[str, Check]]:
    """The check of each of ``steps()``."""
    for step in steps(architecture):
        yield str(step), partial(step_race, architecture, step)


def step_race(architecture: Architecture, step: Step) -> str | None:
    """The first race in two decode steps, or in two prompts that go into one cache."""
    model = tiny_model(architecture, step, "cpu")
    with recorded() as launches:
        if step.prompt:
            graph, ids = tiny_prompt(model)
            advance = partial(graph.prefill_into_cache, ids)
        else:
            advance = tiny_decoder(model, step).step
        for _ in range(STEPS):
            advance()
    return first_race(launches)


def tiny_model(architecture: Architecture, step: Step, device: str, module: Modules = module) -> Any:
    """A model with the sizes of the tiny one and seeded weights, of the package that ``module`` finds modules in."""
    build = module("models.build")
    config = architecture.config({**architecture.tiny, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}})
    with torch.random.fork_rng(devices=[]):
        tensors = build.synthetic_tensors(config, 0, device)
    return build.of_tensors(config, tensors, step.dtype, attention=step.attention)


def tiny_prompt(model: Any, module: Modules = module) -> tuple[Any, Tensor]:
    """The graph of a prompt through ``model``, which puts each prompt into the same cache, and a prompt's ids."""
    graph = module("models.prefill_graph").PrefillGraph(model, model.new_cache(1, PROMPT), PROMPT)
    return graph, torch.arange(PROMPT, device=model.device) % model.config.vocab_size


def tiny_decoder(model: Any, step: Step, module: Modules = module) -> Any:
    """A decoder over a cache of seeded numbers; it samples where the step does."""
    cache, device = model.new_cache(step.rows, CAPACITY), model.device
    generator = torch.Generator(device).manual_seed(1)
    for part in (*cache.k, *cache.v):
        part.normal_(generator=generator)
    lengths = torch.tensor(CACHED[: step.rows], device=device)
    sampling = module("models.sampling").Sampling(temperature=step.temperature, top_p=0.9 if step.temperature else 1.0)
    return module("models.decode").Decoder(model, cache, torch.arange(step.rows, device=device), lengths, sampling)
