"""Decode: tokens per second of braidcheck and baselines at several contexts, with the roofline; one process,
interleaved rounds."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict

import torch

from braidcheck.benchmarks import BRAIDCHECK
from braidcheck.benchmarks.answers import STEPS, Answer, answer, mismatch
from braidcheck.benchmarks.attempt import first_line, within
from braidcheck.benchmarks.backends import (
    HF_STATIC,
    BraidcheckDecoder,
    HFGenerate,
    Start,
    Subject,
    baselines_of,
    seeded_start,
)
from braidcheck.benchmarks.events import Rate, gpu_seconds
from braidcheck.benchmarks.roofline import copy_bandwidth
from braidcheck.benchmarks.speed import hf_with_sdpa, models
from braidcheck.errors import UserError
from braidcheck.gates.layers.measure import SEED
from braidcheck.golden.hf import exact_matmul
from braidcheck.models.qwen3.architecture import EMBEDDING, QWEN3_0_6B, Qwen3Config
from braidcheck.models.qwen3.model import Qwen3Model
from braidcheck.models.qwen3.synthetic import synthetic_tensors

NEW_TOKENS, SAMPLES = 32, 5
MAX_BASELINE_SECONDS = 120  # time limit for building, compiling, checking and running a baseline once
TOTAL = STEPS + (1 + SAMPLES) * NEW_TOKENS  # steps of a subject in all


@dataclass(frozen=True)
class Setting:
    """Rows, and the average number of cached tokens per row over all steps."""

    batch: int
    context: int

    @property
    def filled(self) -> int:
        """Slots filled before the first step. Raises UserError if the context is shorter than TOTAL."""
        if self.context <= TOTAL // 2:
            raise UserError(f"context {self.context} is too short to be timed over {TOTAL} steps: give {TOTAL} or more")
        return self.context - TOTAL // 2

    @property
    def capacity(self) -> int:
        """Required slots plus a spare one, rounded up to 64 like a static cache."""
        return -(-(self.filled + TOTAL + 1) // 64) * 64


SETTINGS = (Setting(1, 128), Setting(1, 2048), Setting(1, 32768), Setting(16, 512))


class SubjectRate(TypedDict, total=False):
    """A subject's rate in tok/s; or why there is none: wrong answer, failure or not requested."""

    rate: Rate
    refused: str
    skipped: str
    of_roofline: float


class _Place(TypedDict):
    batch: int
    context: int
    subject: str
    bytes: int
    roofline: float


class Row(_Place, SubjectRate):
    """A subject's rate at one setting, with the roofline in tok/s."""


class Evidence(TypedDict):
    """One row per setting and subject; each of ``samples`` decodes ``tokens`` tokens per row."""

    device: str
    copy_bandwidth: float
    samples: int
    tokens: int
    rows: list[Row]


def least_bytes(config: Qwen3Config, setting: Setting) -> int:
    """Bytes that one step of all rows must read: every weight once, except an untied embedding, and all K and V."""
    shapes = config.tensor_shapes()
    if not config.tie_word_embeddings:
        del shapes[EMBEDDING]
    slot = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    numbers = sum(math.prod(shape) for shape in shapes.values()) + setting.batch * setting.context * slot
    return numbers * torch.bfloat16.itemsize


def measure_decode(
    settings: Sequence[Setting],
    device: str,
    with_baselines: bool = False,
    static_everywhere: bool = False,
    progress: Callable[[str], None] = lambda text: None,
    config: Qwen3Config = QWEN3_0_6B,
) -> Evidence:
    """One row per setting and subject: the roofline and the subject's rate in tok/s with spread, or why there is none.
    Weights and caches are seeded. A row has ``rate`` (median, low, high), or ``refused`` (wrong answer), or ``skipped``
    (it failed, took too long or was not requested). HF's compiled model, which takes longest to set up, is timed at the
    first setting only unless ``static_everywhere``.
    """
    for setting in settings:
        _check_positions(setting, config)
    progress("measuring the copy bandwidth")
    bandwidth = copy_bandwidth(device)
    progress("making the models")
    model, hf = models(config, device)
    exact = hf_with_sdpa(config, synthetic_tensors(config, SEED, device), torch.float32, device)
    rows: list[Row] = []
    for number, setting in enumerate(settings):
        skip = {HF_STATIC: "compiled at the first context only; for this one, give it alone by --context"}
        request = _Request(setting, with_baselines, skip if number and not static_everywhere else {})
        with torch.no_grad():
            seen = _measure(request, model, hf, exact, progress)
        least = least_bytes(config, setting)
        roofline = setting.batch * bandwidth / least
        for name, found in seen.items():
            if "rate" in found:
                found["of_roofline"] = found["rate"]["median"] / roofline
            row: Row = {
                "batch": setting.batch,
                "context": setting.context,
                "subject": name,
                "bytes": least,
                "roofline": roofline,
                **found,
            }
            rows.append(row)
        _release(device)
    return {
        "device": name_of(device),
        "copy_bandwidth": bandwidth,
        "samples": SAMPLES,
        "tokens": NEW_TOKENS,
        "rows": rows,
    }


def name_of(device: str) -> str:
    """The GPU's name."""
    return torch.cuda.get_device_name() if device == "cuda" else device


@dataclass(frozen=True)
class _Request:
    setting: Setting
    with_baselines: bool
    skip: dict[str, str]


def _measure(
    request: _Request, model: Qwen3Model, hf: Any, exact: Any, progress: Callable[[str], None]
) -> dict[str, SubjectRate]:
    """The rate of each subject, or why there is none."""
    setting, where = request.setting, f"batch {request.setting.batch}, context {request.setting.context}"
    device = model.device.type
    start = seeded_start(model.config, setting.batch, setting.filled, setting.capacity, device)
    progress(f"{where}: HF's answer")
    with exact_matmul():
        truth = answer(HFGenerate(exact, start), start)
    floor = answer(HFGenerate(hf, start), start)
    makers: dict[str, Callable[[], Subject]] = {BRAIDCHECK: lambda: BraidcheckDecoder(model, start)}
    makers |= baselines_of(model, hf, start) if request.with_baselines else {}
    ready: dict[str, Subject] = {}
    rates: dict[str, SubjectRate] = {}
    for name, make in makers.items():
        progress(f"{where}: {name}")
        if name in request.skip:
            rates[name] = {"skipped": request.skip[name]}
        else:
            subject, rates[name] = prepared(make, start, truth, floor)
            ready |= {name: subject} if subject else {}
    progress(f"{where}: timing, in interleaved rounds")
    turns = [partial(subject.run, NEW_TOKENS) for subject in ready.values()]
    for name, timing in zip(ready, gpu_seconds(*turns, count=SAMPLES, warmup=0), strict=True):
        rates[name] = {"rate": timing.rate(setting.batch * NEW_TOKENS)}
    return rates


def prepared(
    make: Callable[[], Subject], start: Start, truth: Answer, floor: Answer
) -> tuple[Subject | None, SubjectRate]:
    """The subject, built, checked and run once; or None and the reason."""
    try:
        with within(MAX_BASELINE_SECONDS):
            subject = make()
            if wrong := mismatch(answer(subject, start), truth, floor):
                return None, {"refused": wrong}
            subject.run(NEW_TOKENS)
    except Exception as error:  # any exception of a baseline's libraries means that it does not run here
        return None, {"skipped": first_line(error)}
    return subject, {}


def _check_positions(setting: Setting, config: Qwen3Config) -> None:
    if setting.capacity > config.max_position_embeddings:
        known = config.max_position_embeddings
        raise UserError(
            f"context {setting.context} needs {setting.capacity} positions, the model has {known}: give a shorter one"
        )


def _release(device: str) -> None:
    """Free memory and compiled code: the next setting has other shapes."""
    gc.collect()
    torch._dynamo.reset()
    if device == "cuda":
        torch.cuda.empty_cache()
