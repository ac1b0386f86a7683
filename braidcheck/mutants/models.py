"""Random whole models made of equivalent implementations, and the coherence gate's verdict on each: it may fail
none."""

from __future__ import annotations

import inspect
import math
import random
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from braidcheck import kernels
from braidcheck.errors import in_one_line
from braidcheck.gates import coherence
from braidcheck.gates.coherence.measure import measure_coherence
from braidcheck.gates.soak.evidence import ModelRow
from braidcheck.gates.soak.measure import KERNEL
from braidcheck.golden.store import Golden
from braidcheck.golden.subset import drawn
from braidcheck.models.engine import Engine
from braidcheck.models.ops import KERNELS, Function
from braidcheck.mutants import equivalents
from braidcheck.result import Verdict
from braidcheck.settings import ATTENTIONS

# HF bfloat16 is the floor for both: float16 keeps three more bits, so that it must pass the more easily. Its range does
# not hold nano's residual stream, which reaches 69,542 behind the last layer: there the stream is float32.
STORAGE = ("bfloat16", "float16")
TOKENS, DOCUMENTS, STEPS = 1800, 4, 20  # HF is sure of two tokens in three, of which 1,000 are needed
# What the interpreter takes ten times as long for as torch for all the others: these, and compositions of kernels.
TRITON = (KERNEL, "other blocks", "in blocks")
MODELS_PER_TRITON_MODEL = 4  # models of which one has it, in the interpreter


@dataclass(frozen=True)
class Draw:
    """One model of a soak: its attention, its weights' and caches' type, the function of each op by name."""

    seed: int
    attention: str
    storage: str
    functions: Mapping[str, str]
    answers: int


def candidates(op: str) -> dict[str, Function]:
    """The kernel of ``op`` and its equivalent implementations by name, if they accept all arguments of the model."""
    call = kernels.find()[op].call
    every = {KERNEL: call, **equivalents.find(op)}
    parameters = inspect.signature(call).parameters.keys()
    return {
        name: function
        for name, function in every.items()
        if parameters <= inspect.signature(function).parameters.keys()
    }


def in_triton(op: str, name: str) -> bool:
    """Whether the candidate ``name`` for ``op`` runs Triton code."""
    return name in TRITON or name in kernels.find()[op].compositions


def draw(seed: int, lane: str) -> Draw:
    """The model that belongs to ``seed``: every op gets its kernel or one of its equivalent implementations.

    In the interpreter Triton code is drawn for one op of one model in MODELS_PER_TRITON_MODEL, and nowhere
    else.
    """
    dice = random.Random(seed)
    attention, storage, answers = dice.choice(ATTENTIONS), dice.choice(STORAGE), dice.choice((1, 2))
    ops = {name: op for name, op in kernels.find().items() if hasattr(KERNELS, name)}  # those that models call
    banned = {name: op.not_in_float16 if storage == "float16" else () for name, op in ops.items()}
    names = {op: [name for name in candidates(op) if name not in banned[op]] for op in ops}
    if lane == "interpret":
        slow = dice.choice(list(names)) if seed % MODELS_PER_TRITON_MODEL == 0 else None
        names = {op: [name for name in of_op if in_triton(op, name) == (op == slow)] for op, of_op in names.items()}
    return Draw(seed, attention, storage, {op: dice.choice(of_op) for op, of_op in names.items()}, answers)


def load(checkpoint: Path, device: str, model: Draw) -> Engine:
    """The engine of ``model``, with the kernels still in it."""
    engine = Engine.load(checkpoint, device, getattr(torch, model.storage), model.attention)
    if model.storage == "float16":
        weights = engine.model.weights
        engine.model.weights = replace(weights, embedding=weights.embedding.float())
    return engine


def measure(model: Draw, checkpoint: Path, golden: Golden, device: str) -> ModelRow:
    """The coherence gate's verdict on ``model``, for a part of ``golden`` that its seed draws, as plain data."""
    began = time.perf_counter()
    engine = load(checkpoint, device, model)
    text = drawn(golden, TOKENS, DOCUMENTS, model.answers, STEPS, model.seed)
    seen: ModelRow = {
        "seed": model.seed,
        "attention": model.attention,
        "storage": model.storage,
        "functions": {},
        "documents": list(text.numbers),
        "tokens": sum(len(text.document(n).ids) for n in range(len(text))),
        "checks": {},
        "refused": [],
        "raised": None,
    }
    calls: Counter[str] = Counter()
    ops = KERNELS.replace(**{op: candidates(op)[name] for op, name in model.functions.items()}).counted(calls)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="(?i).*deterministic")
            verdicts = coherence.evaluate(measure_coherence(engine.with_ops(ops), text))
    except Exception as error:  # any exception is a finding, and must not lose the other models
        return seen | {"raised": in_one_line(error)}
    seen["functions"] = {op: model.functions[op] for op in calls}
    seen["checks"] = {v.subject.rpartition(": ")[2]: (v.status, _used(v)) for v in verdicts}
    seen["refused"] = [f"{v.subject}: {v.message}" for v in verdicts if v.status in ("fail", "error")]
    return seen | {"seconds": round(time.perf_counter() - began, 2)}


def _used(verdict: Verdict) -> float | None:
    return (
        round(verdict.limit_fraction, 4)
        if verdict.limit_fraction is not None and math.isfinite(verdict.limit_fraction)
        else None
    )
