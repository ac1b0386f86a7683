"""A model with the same, known logits after every token, to check the output projection and sampled tokens.

Its output and down projections are zero and its embeddings are all one vector, so the residual stream is that vector at
every position, whatever the kernels of the layers compute.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.engine.tiny import Tiny
from braidcheck.gates.gate import Check
from braidcheck.gates.under_test import module
from braidcheck.numerics.sampling import FALSE_ALARM, probabilities, refused_draws

VOCABULARIES = (1, 300, 1023, 1024, 1025, 2301)  # around and between the sizes to which a head may be padded or split
ROWS, STEPS = 300, 4
TEMPERATURE = 1.5  # tokens of uniform logits, of which two draws rarely agree
GREEDY: Mapping[str, Any] = {}
FILTERS: tuple[Mapping[str, Any], ...] = (
    {"temperature": 1.0},
    {"temperature": 0.6, "top_k": 12},
    {"temperature": 1.5, "top_p": 0.8},
    {"temperature": 0.9, "top_k": 20, "top_p": 0.85},
)
FAR = 2.0**100  # nearly as far as float32 reaches


def head_checks(tiny: Tiny, device: str) -> Iterator[tuple[str, Check]]:
    """Names and checks of the output projection."""
    yield "negative logits", partial(_negative, tiny, device)
    yield "ties", partial(_ties, tiny, device)


def draw_checks(tiny: Tiny, device: str) -> Iterator[tuple[str, Check]]:
    """Names and checks of drawn tokens."""
    for name, check in (("distribution", _distribution), ("independence", _independence), ("seeds", _seeds)):
        yield name, partial(_in_large_programs, partial(check, tiny, device), device)


def _in_large_programs(check: Check, device: str) -> str | None:
    """In the interpreter, hundreds of rows per program take a tenth of the time."""
    configs = module("kernels.common.configs")
    large = {("sample", configs.TILED, configs.ANY): configs.KernelConfig(block_m=512, block_n=64)}
    with configs.override_config(large if device == "cpu" else {}):
        return check()


def constant_engine(tiny: Tiny, logits: Sequence[float], device: str) -> Any:
    """An engine in float32 of the tiny model's sizes, whose logits after every token are these, one for each token."""
    sizes = {**tiny.sizes, "rope_theta": 1e4, "vocab_size": len(logits), "tie_word_embeddings": False}
    config = (
        module("models").find()[tiny.architecture.name].config(sizes | {"num_hidden_layers": 1, "rms_norm_eps": 1e-6})
    )
    tensors = {name: torch.ones(shape) for name, shape in config.tensor_shapes().items()}
    for name, tensor in tensors.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor.zero_()
    # The norm of a row of ones is ones: one column of the head gives the logits, exactly.
    tensors["lm_head.weight"].zero_()[:, 0] = torch.tensor(logits)
    placed = {name: tensor.to(device) for name, tensor in tensors.items()}
    engine = module("models.engine").Engine(module("models.build").of_tensors(config, placed, torch.float32))
    if device != "cpu":
        return engine
    ops = module("models.ops")  # the layers do not matter: their kernels would take the interpreter minutes
    return engine.with_ops(ops.REFERENCES.replace(lm_head=ops.KERNELS.lm_head, sample=ops.KERNELS.sample))


def decoded(engine: Any, rows: int, steps: int, sampling: Any, start: int = 5) -> Tensor:
    """The tokens [rows, steps] that follow rows of ``start`` tokens, the first of them drawn as a prompt's is."""
    cache = engine.model.new_cache(rows, start + steps)
    for part in (*cache.k, *cache.v):
        part.zero_()
    lengths = torch.full((rows,), start, device=engine.model.device)
    h = torch.ones(rows, engine.model.config.hidden_size, device=engine.model.device)
    first = engine.model.next_tokens(h, sampling, sampling.seeds(rows, engine.model.device), lengths)
    decoder = module("models.decode").Decoder(engine.model, cache, first, lengths, sampling)
    return torch.cat([first[:, None], decoder.run(steps - 1)], dim=1).cpu()


def _sampling(**options: Any) -> Any:
    return module("models.sampling").Sampling(**options)


def _negative(tiny: Tiny, device: str) -> str | None:
    """If all logits are negative, padding beyond the vocabulary must not win."""
    for vocabulary in VOCABULARIES:
        best = vocabulary - 1
        logits = [-2.0 - index % 7 for index in range(best)] + [-1.0]
        if violation := _answers(constant_engine(tiny, logits, device), logits, best):
            return f"of {vocabulary} negative logits the last is the best: {violation}"
    return None


def _answers(engine: Any, logits: list[float], best: int) -> str | None:
    """A violation unless ``best`` is the answer for one row and for several, greedy or nearly greedy."""
    for rows in (1, 3):
        for options in (GREEDY, {"temperature": 0.01}):
            tokens = decoded(engine, rows, 1, _sampling(**options)).flatten().tolist()
            if tokens != [best] * rows:
                return f"{rows} rows with {options} are answered {tokens}"
    actual = engine.model.logits(torch.ones(2, engine.model.config.hidden_size, device=engine.model.device)).cpu()
    expected = torch.tensor([logits] * 2)
    # A norm and a product of one number each: a few roundings of float32.
    if actual.shape != expected.shape or not torch.allclose(actual, expected, rtol=1e-5, atol=0):
        return f"logits are {list(actual.shape)}, off by {float((actual - expected).abs().max()):.2g}"
    return None


def _ties(tiny: Tiny, device: str) -> str | None:
    """Among equal best logits the first wins, after a prompt and in decode, for one row and several."""
    for vocabulary, places in (
        (2301, (1, 1025)),
        (2301, (1023, 1024, 2300)),
        (300, (255, 256)),
        (70, tuple(range(70))),
    ):
        logits = [-3.0] * vocabulary
        for place in places:
            logits[place] = -1.0
        engine = constant_engine(tiny, logits, device)
        for rows in (1, 3):
            tokens = decoded(engine, rows, 2, _sampling()).tolist()
            if tokens != [[places[0]] * 2] * rows:
                return f"of the equal logits {places[:3]} in {rows} rows {tokens} are taken, must be the first"
        if engine.generate([0, 0], 2) != [places[0]] * 2:
            return f"of the equal logits {places[:3]} a prompt's answer takes {engine.generate([0, 0], 2)}"
    return None


def _logits(vocabulary: int = 40) -> list[float]:
    return (1.5 * torch.randn(vocabulary, generator=torch.Generator().manual_seed(3))).tolist()


def _distribution(tiny: Tiny, device: str) -> str | None:
    """Pearson's chi-square of the drawn tokens, over rows and steps, against the exact probabilities."""
    logits = _logits()
    tied = [min(logit, sorted(logits)[-3]) for logit in logits]  # three are the best
    for numbers, filters in (
        (logits, FILTERS),
        ([logit * FAR for logit in logits], ({"temperature": FAR},)),
        ([logit / FAR for logit in logits], ({"temperature": 1 / FAR},)),
        (tied, ({"temperature": 1.0, "top_p": 1 / FAR}, {"temperature": 1.0, "top_k": 1})),
    ):
        engine = constant_engine(tiny, numbers, device)
        for number, options in enumerate(filters):
            tokens = decoded(engine, ROWS, STEPS, _sampling(**options, seed=2**31 - 1 - number)).flatten()
            if violation := refused_draws(tokens, probabilities(torch.tensor(numbers), **options)):
                return f"with {options}: {violation}"
    return None


def _independence(tiny: Tiny, device: str) -> str | None:
    """Neighbouring rows, steps and seeds agree no more often than by chance."""
    engine = constant_engine(tiny, _logits(), device)
    samplings = [_sampling(temperature=TEMPERATURE, seed=seed) for seed in (1, 1 + 2**16)]
    first, second = (decoded(engine, ROWS, STEPS, sampling) for sampling in samplings)
    pairs = {"two seeds": (first, second)} | _steps(first)
    for apart in (1, 16, 64, 128, 256):
        rows = [row for row in range(ROWS - apart) if row // apart % 2 == 0]  # no row is in two pairs
        pairs[f"rows {apart} apart"] = first[rows], first[[row + apart for row in rows]]
    return _agreeing(pairs)


def _steps(tokens: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """The steps beside each other of tokens [rows, steps]."""
    return {f"steps {step} and {step + 1}": (tokens[:, step], tokens[:, step + 1]) for step in range(STEPS - 1)}


def _agreeing(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> str | None:
    """A violation if two of these agree more often than independent draws would (Hoeffding's inequality)."""
    chance = float(probabilities(torch.tensor(_logits()), TEMPERATURE).square().sum())
    for what, (one, other) in pairs.items():
        share = float((one == other).double().mean())
        if share > chance + math.sqrt(math.log(1 / FALSE_ALARM) / (2 * one.numel())):
            return f"{what} draw the same token in {share:.0%} of {one.numel()} pairs, by chance {chance:.0%}"
    return None


def _seeds(tiny: Tiny, device: str) -> str | None:
    """The same call draws the same tokens, whatever the batch; positions at the end of the RoPE table draw like any
    others."""
    engine = constant_engine(tiny, _logits(), device)
    last = tiny.sizes["max_position_embeddings"] - STEPS
    for seed, start in ((0, 5), (2**31 - 1, 5), (3, last)):
        sampling = _sampling(temperature=TEMPERATURE, seed=seed)
        many, again = (decoded(engine, rows, STEPS, sampling, start) for rows in (ROWS, 3))
        if not torch.equal(many[:3], again):
            return f"with seed {seed} three rows draw {again.tolist()}, beside {ROWS - 3} others {many[:3].tolist()}"
        exact = probabilities(torch.tensor(_logits()), TEMPERATURE)
        if refused := _agreeing(_steps(many)) or refused_draws(many.flatten(), exact):
            return f"with seed {seed} from position {start} on: {refused}"
    return None
