"""Search how the decode kernels are best cut into programs on this GPU; the time of a whole decode step decides.

Run by ``nox -s tune``. Each kernel's cuts are tried in turn with the best of those before it; what it prints goes into
``kernels/_pinned.py`` by hand, after the gates have passed with it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from braidcheck.evidence.layers import SEED
from braidcheck.kernels import _pinned as pinned
from braidcheck.kernels.attention_step import cut_name
from braidcheck.measure.events import Timing, gpu_seconds
from braidcheck.qwen3.config import QWEN3_0_6B
from braidcheck.qwen3.decoder import Decoder
from braidcheck.qwen3.engine import Engine
from braidcheck.qwen3.synthetic import synthetic_tensors
from braidcheck.qwen3.weights import Weights

STEPS, SAMPLES = 32, 5
Cut = pinned.Cut


def _all(**choices: Iterable[int]) -> list[dict[str, int]]:
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


_FEW = _all(ROWS=(16, 32), num_warps=(4, 8))
_BLOCKS = _all(BLOCK_N=(16, 32, 64, 128), BLOCK_K=(128, 256, 512), num_warps=(2, 4, 8), num_stages=(3, 4))
_STEP = _all(
    BLOCK_S=(32, 64, 128), LEAST=(64, 128, 256), MOST_SPLITS=(16, 32, 64), num_warps=(2, 4, 8), num_stages=(2, 3)
)
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
}


class Bench:
    """One model of Qwen3-0.6B's shape and a cache of seeded numbers, filled up to a context."""

    def __init__(self, context: int, batch: int = 1) -> None:
        """A ``context`` in tokens of each of ``batch`` rows."""
        tensors = synthetic_tensors(QWEN3_0_6B, SEED, "cuda")
        self.engine = Engine(QWEN3_0_6B, Weights.from_tensors(tensors, QWEN3_0_6B, torch.bfloat16), "production")
        self.cache = self.engine.new_cache(batch, context + STEPS * (SAMPLES + 2))
        for tensor in (*self.cache.k, *self.cache.v):
            tensor.normal_()
        self.context, self.batch = context, batch

    def step(self) -> Timing:
        """Seconds of one decode step as its ops are cut now."""
        tokens = torch.zeros(self.batch, dtype=torch.int64, device="cuda")
        decoder = Decoder(self.engine, self.cache, tokens, torch.full_like(tokens, self.context))
        (timing,) = gpu_seconds(lambda: decoder.run(STEPS), count=SAMPLES)
        return Timing(timing.median / STEPS, timing.fastest / STEPS, timing.slowest / STEPS, timing.count)


def search(bench: Bench, kernel: str, say: Callable[[str], None]) -> Cut:
    """The fastest of ``kernel``'s cuts, which is left in force; one that cannot run is passed over."""
    best, cut = bench.step().median, pinned.cut(kernel)
    say(f"{kernel} {cut}: {1e6 * best:.1f} us a step, as it is")
    found = cut
    for choice in CHOICES[kernel]:
        pinned.FORCED[kernel] = choice
        try:
            timing = bench.step()
        except Exception as error:  # more shared memory or registers than the chip has
            say(f"{kernel} {choice}: {(str(error).splitlines() or [''])[0]}")
            continue
        spread = f"{1e6 * timing.fastest:.1f} to {1e6 * timing.slowest:.1f}"
        say(f"{kernel} {choice}: {1e6 * timing.median:.1f} us ({spread})")
        if timing.median < best:
            best, found = timing.median, choice
    pinned.FORCED[kernel] = found
    say(f"best: {kernel} {dict(found)}: {1e6 * best:.1f} us a step, {bench.batch / best:,.0f} tok/s")
    return found


def _taken(bench: Bench) -> list[str]:
    """The kernels of a step."""
    step, of_one = cut_name(bench.batch, bench.cache.capacity), bench.batch == 1
    return [step, *(name for name in CHOICES if "attention" not in name and name.endswith("of one") == of_one)]


def main(words: Sequence[str] | None = None) -> int:
    """Search the ops that are asked for on this machine's GPU."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("kernels", nargs="*", help="kernels to search, in this order; all that such a step takes")
    parser.add_argument("--context", type=int, default=128, help="tokens before the step (128)")
    parser.add_argument("--batch", type=int, default=1, help="rows of the step (1)")
    given = parser.parse_args(words)
    if not torch.cuda.is_available():
        print("braidcheck: tune needs a GPU", file=sys.stderr)
        return 3
    with torch.inference_mode():
        bench = Bench(given.context, given.batch)
        for kernel in given.kernels or _taken(bench):
            search(bench, kernel, lambda text: print(text, flush=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
