"""Search how kernels are best cut into programs on this GPU.

For decode the time of a whole step decides, since kernels overlap; for a prompt the time of each op on its shape.
Run by ``nox -s tune``. Each kernel's cuts are tried in turn with the best of those before it; what it prints goes into
``kernels/common/configs.py`` by hand, after the gates have passed with it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch

from braidcheck import kernels
from braidcheck.benchmarks.events import Timing, gpu_seconds
from braidcheck.benchmarks.replay import Replay
from braidcheck.benchmarks.shapes import AXES, HIDDEN, INNER, arguments
from braidcheck.gates.layers.measure import SEED
from braidcheck.kernels import attention_prefill, attention_step
from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.models.qwen3.architecture import QWEN3_0_6B
from braidcheck.models.qwen3.decode import Decoder
from braidcheck.models.qwen3.model import Qwen3Model
from braidcheck.models.qwen3.synthetic import synthetic_tensors
from braidcheck.models.qwen3.weights import Weights
from braidcheck.op import Case, Op

STEPS, SAMPLES = 32, 5
Cut = pinned.Cut


def _all(**choices: Iterable[int]) -> list[dict[str, int]]:
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


_FEW = _all(ROWS=(16, 32), num_warps=(4, 8))
_BLOCKS = _all(BLOCK_N=(16, 32, 64, 128), BLOCK_K=(128, 256, 512), num_warps=(2, 4, 8), num_stages=(3, 4))
_TILES = (
    _all(BLOCK_T=(64,), BLOCK_K=(64,), RESIDENT=(1, 2), num_warps=(4, 8), num_stages=(2, 3, 4))
    + _all(BLOCK_T=(64,), BLOCK_K=(128,), RESIDENT=(1, 2), num_warps=(4, 8), num_stages=(2, 3))
    + _all(BLOCK_T=(128,), BLOCK_K=(64,), RESIDENT=(1,), num_warps=(8,), num_stages=(3, 4))
)
_STEP = _all(
    BLOCK_S=(32, 64, 128), LEAST=(64, 128, 256), MOST_SPLITS=(16, 32, 64), TOGETHER=(8, 32), num_warps=(2, 4, 8),
    num_stages=(2, 3),
)  # fmt: skip
CHOICES: Mapping[str, Sequence[Cut]] = {
    **{f"attention_step of {rows}": _STEP for rows in ("one", "several", "long")},
    "rms_norm_qkv of one": _all(ROWS=(2, 4, 8, 16), num_warps=(1, 2, 4, 8)),
    "linear_residual of one": _all(ROWS=(1, 2, 4, 8), num_warps=(1, 2, 4, 8, 16)),
    "gate_up_silu of one": _all(ROWS=(1, 2, 4, 8), num_warps=(1, 2, 4, 8)),
    "lm_head of one": _all(ROWS=(4, 8, 16), PROGRAMS=(528, 1056, 2112), num_warps=(2, 4, 8)),
    "rms_norm_qkv of few": _FEW,
    "gate_up_silu of few": _FEW,
    "linear_residual in blocks of 16": _BLOCKS,
    "lm_head in blocks of 16": _BLOCKS,
    **{
        f"{op} of {tokens}": [tile | width for tile in _TILES for width in widths]
        for op, widths in {
            "rms_norm_qkv": _all(BLOCK_N=(64, 128, 256)),
            "qkv_rope": _all(HEADS=(1, 2)),
            "linear_residual": _all(BLOCK_N=(64, 128, 256)),
            "gate_up_silu": _all(BLOCK_N=(64, 128)),
        }.items()
        for tokens in ("dozens", "hundreds", "thousands")
    },
    **{
        f"attention_prefill of {keys}": _all(
            BLOCK_T=(64, 128), BLOCK_S=(64, 128), num_warps=(4, 8), num_stages=(2, 3, 4)
        )
        for keys in ("many", "long")
    },
}


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

    def kernels(self) -> list[str]:
        """Those that a step takes."""
        ending = "of one" if self.batch == 1 else ("of few", "in blocks of 16")
        step = attention_step.cut_name(self.batch, self.cache.capacity)
        return [step, *(name for name in CHOICES if "attention" not in name and name.endswith(ending))]

    def time(self, kernel: str) -> Timing:
        """Seconds of one decode step as its ops, ``kernel`` among them, are cut now."""
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
        self.ops = {many.cut_name(op, tokens, width): op for op, width in outputs.items()}
        self.ops[attention_prefill.cut_name(tokens, tokens, by_tiles=True)] = "attention_prefill"

    def kernels(self) -> list[str]:
        """Those that it takes."""
        return list(self.ops)

    def time(self, kernel: str) -> Timing:
        """Seconds of the op of ``kernel`` as it is cut now."""
        op, given, touched = _call(self.ops[kernel], self.tokens)
        replay = Replay(op.call, given, touched)
        seconds = [replay.turn()["seconds"] for _ in range(SAMPLES)]
        return Timing(statistics.median(seconds), min(seconds), max(seconds), SAMPLES)


@cache
def _call(name: str, tokens: int) -> tuple[Op, Mapping[str, Any], int]:
    """An op, its arguments in production for so many tokens, and the bytes that it must move."""
    op = kernels.find()[name]
    case = Case(name, next(iter(AXES[name].values())) | {"T": tokens})
    return op, arguments(op, case), op.cost(case).bytes


def search(bench: Decode | Prompt, kernel: str, say: Callable[[str], None]) -> Cut:
    """The fastest of ``kernel``'s cuts, which is left in force; one that cannot run is passed over."""
    best, found = bench.time(kernel).median, pinned.cut(kernel)
    say(f"{kernel} {found}: {1e6 * best:.1f} us, as it is")
    for choice in CHOICES[kernel]:
        pinned.FORCED[kernel] = choice
        try:
            timing = bench.time(kernel)
        except Exception as error:  # more shared memory or registers than the chip has
            say(f"{kernel} {choice}: {(str(error).splitlines() or [''])[0]}")
            continue
        spread = f"{1e6 * timing.fastest:.1f} to {1e6 * timing.slowest:.1f}"
        say(f"{kernel} {choice}: {1e6 * timing.median:.1f} us ({spread})")
        if timing.median < best:
            best, found = timing.median, choice
    pinned.FORCED[kernel] = found
    say(f"best: {kernel} {dict(found)}: {1e6 * best:.1f} us")
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Search the ops that are asked for on this machine's GPU."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("kernels", nargs="*", help="kernels to search, in this order; all that such a step takes")
    parser.add_argument("--context", type=int, default=128, help="tokens before the step (128)")
    parser.add_argument("--batch", type=int, default=1, help="rows of the step (1)")
    parser.add_argument("--prompt", type=int, help="tokens of a prompt, to search its kernels in place of a step's")
    given = parser.parse_args(words)
    if not torch.cuda.is_available():
        print("braidcheck: tune needs a GPU", file=sys.stderr)
        return 3
    with torch.inference_mode():
        bench = Prompt(given.prompt) if given.prompt else Decode(given.context, given.batch)
        for kernel in given.kernels or bench.kernels():
            search(bench, kernel, lambda text: print(text, flush=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
