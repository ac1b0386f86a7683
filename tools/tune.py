"""Search the fastest launch configs on this GPU.

For decode the time of a whole step decides, since kernels overlap; for a prompt the time of each op on its shape.
Run by ``nox -s tune``. Each kernel's configs are tried with the best of the kernels before it; what it prints goes into
``kernels/common/tuned_configs.py`` by hand, after the gates have passed with it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from braidcheck import kernels
from braidcheck.benchmarks.events import Timing, gpu_seconds
from braidcheck.benchmarks.replay import Replay
from braidcheck.benchmarks.shapes import arguments
from braidcheck.gates.layers.measure import SEED
from braidcheck.kernels import attention_prefill, decode_attention
from braidcheck.kernels.common import split_k
from braidcheck.kernels.common.configs import get_config, override_config, size_bucket
from braidcheck.kernels.common.inputs import HIDDEN, INNER
from braidcheck.kernels.common.kernel_config import (
    ANY,
    GEMV,
    LARGE,
    MEDIUM,
    PERSISTENT,
    SMALL,
    SMALL_M,
    SPLIT_K,
    TILED,
    TINY,
    KernelConfig,
    Key,
)
from braidcheck.models.decode import Decoder
from braidcheck.models.qwen3.architecture import QWEN3_0_6B
from braidcheck.models.qwen3.model import Qwen3Model
from braidcheck.models.qwen3.synthetic import synthetic_tensors
from braidcheck.models.qwen3.weights import Weights
from braidcheck.op import Case, Op

STEPS, SAMPLES = 32, 5
WARMUP_SECONDS = 5.0  # a GPU that comes from rest is 5% slower for three seconds


def _all(**choices: Iterable[int]) -> list[KernelConfig]:
    return [KernelConfig(**dict(zip(choices, values, strict=True))) for values in itertools.product(*choices.values())]


def _each(configs: Iterable[KernelConfig], **choices: Iterable[int]) -> list[KernelConfig]:
    fields = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    return [replace(config, **values) for config in configs for values in fields]


_SMALL_M = _all(block_n=(16, 32, 64), num_slices=(4, 8, 16))
_TILED = _all(block_n=(16, 32, 64, 128), block_k=(128, 256, 512), num_warps=(2, 4, 8), num_stages=(3, 4))
_PERSISTENT = (
    _all(block_m=(64,), block_k=(64,), ctas_per_sm=(1, 2), num_warps=(4, 8), num_stages=(2, 3, 4))
    + _all(block_m=(64,), block_k=(128,), ctas_per_sm=(1, 2), num_warps=(4, 8), num_stages=(2, 3))
    + _all(block_m=(128,), block_k=(64,), ctas_per_sm=(1,), num_warps=(8,), num_stages=(3, 4))
)
_SPLIT_KV = _all(
    block_n=(32, 64, 128),
    min_keys_per_split=(64, 128, 256),
    max_splits=(16, 32, 64),
    combine_block=(8, 32),
    num_warps=(2, 4, 8),
    num_stages=(2, 3),
)
_SPLIT_K = _all(
    block_m=(64, 128), block_n=(32, 64), block_k=(64, 128), num_splits=(2, 4), num_warps=(4,), num_stages=(3, 4, 5)
)
_PREFILL = _all(block_m=(64, 128), block_n=(64, 128), num_warps=(4, 8), num_stages=(2, 3, 4))
_PERSISTENT_OF = {
    "rms_norm_qkv": _each(_PERSISTENT, block_n=(64, 128, 256), prefetch_k=(0, 128, 256)),
    "qkv_rope": _each(_PERSISTENT, heads_per_tile=(1, 2)),
    "linear_residual": _each(_PERSISTENT, block_n=(64, 128, 256)),
    "gate_up_silu": _each(_PERSISTENT, block_n=(32, 64, 128), prefetch_k=(0, 256)),
}
CHOICES: Mapping[Key, Sequence[KernelConfig]] = {
    ("decode_attention", GEMV, ANY): _SPLIT_KV,
    ("decode_attention", SMALL_M, ANY): _SPLIT_KV,
    ("decode_attention", SMALL_M, LARGE): _SPLIT_KV,
    ("rms_norm_qkv", GEMV, ANY): _all(block_n=(2, 4, 8, 16), num_warps=(1, 2, 4, 8)),
    ("linear_residual", GEMV, ANY): _all(block_n=(1, 2, 4, 8), num_warps=(1, 2, 4, 8, 16)),
    ("gate_up_silu", GEMV, ANY): _all(block_n=(1, 2, 4, 8), num_warps=(1, 2, 4, 8)),
    ("lm_head", GEMV, ANY): _all(block_n=(4, 8, 16), num_ctas=(528, 1056, 2112), num_warps=(2, 4, 8)),
    ("lm_head", SMALL_M, ANY): _each(_SMALL_M, num_ctas=(132, 264)),
    ("rms_norm_qkv", SMALL_M, ANY): _SMALL_M,
    ("gate_up_silu", SMALL_M, ANY): _SMALL_M,
    ("linear_residual", SMALL_M, ANY): _SMALL_M,
    ("linear_residual", TILED, SMALL): _TILED,
    ("linear_residual", SPLIT_K, ANY): _all(block_n=(128, 256, 512, 1024), num_warps=(4,)),
    **{("linear_residual", SPLIT_K, size): _SPLIT_K for size in (SMALL, MEDIUM, LARGE)},
    ("lm_head", TILED, SMALL): _TILED,
    **{
        (op, PERSISTENT, size): choice for op, choice in _PERSISTENT_OF.items() for size in (TINY, SMALL, MEDIUM, LARGE)
    },
    ("attention_prefill", TILED, ANY): _PREFILL,
    ("attention_prefill", TILED, LARGE): _PREFILL,
}


def name_of(key: Key) -> str:
    """What a key is called on the command line: "lm_head/gemv", "qkv_rope/persistent/large"."""
    op, regime, bucket = key
    return "/".join(part for part in (op, regime.name.lower(), bucket.value) if part)


class Decode:
    """One model of Qwen3-0.6B's shape and a cache of seeded numbers, filled up to a context."""

    def __init__(self, context: int, batch: int = 1) -> None:
        """A ``context`` in tokens of each of ``batch`` rows."""
        tensors = synthetic_tensors(QWEN3_0_6B, SEED, "cuda")
        self.model = Qwen3Model(QWEN3_0_6B, Weights.from_tensors(tensors, QWEN3_0_6B, torch.bfloat16), "production")
        self.cache = self.model.new_cache(batch, context + STEPS * (SAMPLES + 2))
        for tensor in (*self.cache.k, *self.cache.v):
            tensor.normal_()
        self.context, self.batch = context, batch

    def kernels(self) -> list[Key]:
        """The keys of a step's kernels."""
        step = decode_attention.config_key(self.batch, self.cache.capacity)
        several = (SMALL_M, ANY), (TILED, SMALL)
        sizes = ((GEMV, ANY),) if self.batch == 1 else several
        return [step, *(key for key in CHOICES if "attention" not in key[0] and key[1:] in sizes)]

    def time(self, key: Key) -> Timing:
        """Seconds of one decode step with the configs in force."""
        tokens = torch.zeros(self.batch, dtype=torch.int64, device="cuda")
        decoder = Decoder(self.model, self.cache, tokens, torch.full_like(tokens, self.context))
        (timing,) = gpu_seconds(lambda: decoder.run(STEPS), count=SAMPLES)
        return Timing(timing.median / STEPS, timing.fastest / STEPS, timing.slowest / STEPS, timing.count)


class Prompt:
    """The ops of one prompt of Qwen3-0.6B's shape, each by itself."""

    def __init__(self, tokens: int) -> None:
        """A prompt of so many ``tokens``."""
        outputs = {"rms_norm_qkv": QWEN3_0_6B.qkv_rows, "qkv_rope": QWEN3_0_6B.qkv_rows}
        outputs |= {"linear_residual": HIDDEN, "gate_up_silu": 2 * INNER}
        self.tokens = tokens
        self.keys = [(op, PERSISTENT, size_bucket("persistent_gemm", tokens * width)) for op, width in outputs.items()]
        if tokens * HIDDEN <= split_k.MAX_OUTPUTS:
            self.keys.append(("linear_residual", SPLIT_K, size_bucket("split_k", tokens)))
        self.keys.append(attention_prefill.config_key(tokens, tokens, use_tma=True))

    def kernels(self) -> list[Key]:
        """The keys of a prompt's kernels."""
        return self.keys

    def time(self, key: Key) -> Timing:
        """Seconds of the op of ``key`` with the configs in force."""
        op, inputs, touched = _call(key[0], self.tokens)
        replay = Replay(op.call, inputs, touched)
        seconds = [replay.turn()["seconds"] for _ in range(SAMPLES)]
        return Timing(statistics.median(seconds), min(seconds), max(seconds), SAMPLES)


@cache
def _call(name: str, tokens: int) -> tuple[Op, Mapping[str, Any], int]:
    """An op, its arguments in production for so many tokens, and the bytes that it must move."""
    op = kernels.find()[name]
    case = Case(name, next(iter(op.benchmark_shapes.values())) | {"T": tokens})
    return op, arguments(op, case), op.cost(case).bytes


def search(bench: Decode | Prompt, key: Key, say: Callable[[str], None]) -> KernelConfig:
    """The fastest config of ``key``; one that cannot run is passed over."""
    best, config = bench.time(key).median, get_config(*key)
    say(f"{name_of(key)} {config.meta()}: {1e6 * best:.1f} us, the config in force")
    for choice in CHOICES[key]:
        try:
            with override_config({key: choice}):
                timing = bench.time(key)
        except Exception as error:  # more shared memory or registers than the chip has
            say(f"{name_of(key)} {choice.meta()}: {(str(error).splitlines() or [''])[0]}")
            continue
        spread = f"{1e6 * timing.fastest:.1f} to {1e6 * timing.slowest:.1f}"
        say(f"{name_of(key)} {choice.meta()}: {1e6 * timing.median:.1f} us ({spread})")
        if timing.median < best:
            best, config = timing.median, choice
    say(f"best: {name_of(key)} {config.meta()}: {1e6 * best:.1f} us")
    return config


def search_all(bench: Decode | Prompt, keys: Iterable[Key], say: Callable[[str], None]) -> None:
    """Search the keys one after another, each with the best configs of those before it."""
    with ExitStack() as stack:
        for key in keys:
            stack.enter_context(override_config({key: search(bench, key, say)}))


def main(words: Sequence[str] | None = None) -> int:
    """Search the ops that are asked for on this machine's GPU."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    keys = {name_of(key): key for key in CHOICES}
    parser.add_argument("kernels", nargs="*", metavar="OP/REGIME[/SIZE]", help="kernels to search, in this order (all)")
    parser.add_argument("--context", type=int, default=128, help="tokens before the step (128)")
    parser.add_argument("--batch", type=int, default=1, help="rows of the step (1)")
    parser.add_argument("--prompt", type=int, help="tokens of a prompt, to search its kernels in place of a step's")
    options = parser.parse_args(words)
    if unknown := [name for name in options.kernels if name not in keys]:
        parser.error(f"no kernel {unknown[0]}; one of {', '.join(keys)}")
    if not torch.cuda.is_available():
        print("braidcheck: tune needs a GPU", file=sys.stderr)
        return 3
    with torch.inference_mode():
        bench = Prompt(options.prompt) if options.prompt else Decode(options.context, options.batch)
        chosen = [keys[name] for name in options.kernels] or bench.kernels()
        begin = time.monotonic()
        while time.monotonic() - begin < WARMUP_SECONDS:
            bench.time(chosen[0])
        search_all(bench, chosen, lambda text: print(text, flush=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
