"""Numbers that look like a real model's, by profile: what every op's cases are made of."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from braidcheck.op import Case, Inputs, Op

__all__ = ("Numbers", "alternating", "by_tokens")

EPS = 1e-6
K_NORM_MAX = 96.5  # reported for layer 0 of Qwen3-0.6B
# The shapes of Qwen3-0.6B, in which ops are timed.
HIDDEN, INNER, VOCAB, POSITIONS = 1024, 3072, 151936, 40960
PAST_16_BITS = 2**16 + 1  # a position, or a number of slots
HEADS = {"Hq": 16, "Hkv": 8, "D": 128}
KV_HEADS = {"Hkv": HEADS["Hkv"], "D": HEADS["D"]}
SUBNORMAL = {"bfloat16": 2.0**-128, "float16": 2.0**-18, "float32": 2.0**-130}
LARGE, SMALL = 2.0**20, 2.0**-30  # past float16's largest number and below its smallest
FLATTER = 64.0  # times smaller a query, its softmax is flat: where one key has nearly all, the last rounding leans
FAR_BELOW = 8192.0  # times a query: its scores with keys of the other sign are then below -65504
EDGE = {"float16": 2.0e4, "bfloat16": 1e12, "float32": 1e12}  # squares and products still fit in float32


class Numbers:
    """Random tensors of one case, the same on every device: drawn on the CPU from the case's own seed."""

    def __init__(self, case: Case, device: str) -> None:
        self.case = case
        self.device = device
        self.dtype = getattr(torch, case.dtype)
        self.generator = torch.Generator().manual_seed(case.entropy)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, float32, on the CPU."""
        return torch.randn(shape, generator=self.generator)

    def place(self, tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Round to ``dtype`` (the case's by default) and move to the device."""
        return tensor.to(dtype or self.dtype).to(self.device)

    def activations(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Rows of a residual stream, or of anything that is multiplied by weights along the last axis."""
        x = getattr(self, f"_{self.case.profile}", self.normal)(*shape)
        return self.place(x, dtype)

    def _qwen(self, *shape: int) -> Tensor:
        # Channel scales differ widely and a few channels carry massive activations.
        scale = torch.exp(0.8 * self.normal(shape[-1]))
        scale[torch.randperm(shape[-1], generator=self.generator)[: max(1, shape[-1] // 256)]] *= 60.0
        return self.normal(*shape) * scale

    def _extreme(self, *shape: int) -> Tensor:
        x = self.normal(*shape)
        x[..., 0, :] *= EDGE[self.case.dtype] / 4
        return x

    def _tiny(self, *shape: int) -> Tensor:
        # Row variances from 1/30 of eps to 30 eps.
        exponent = torch.rand((*shape[:-1], 1), generator=self.generator) * 3 - 1.5
        return self.normal(*shape) * (EPS * 10**exponent).sqrt()

    def _steep(self, *shape: int) -> Tensor:
        return 100 * self.normal(*shape)  # e to the power of such a number overflows float32

    def _sparse(self, *shape: int) -> Tensor:
        keep = torch.rand(shape, generator=self.generator) < 0.02
        keep[..., -1] = True  # the last column counts: a dropped tail must show
        return torch.where(keep, 30 * self.normal(*shape), torch.zeros(()))

    def _cancel(self, *shape: int) -> Tensor:
        # One sign in the first half, nearly its opposite in the second: partial sums grow, the total does not.
        half = shape[-1] // 2
        x = self.normal(*shape)
        x[..., :half] = x[..., :half].abs() + 1
        x[..., half : 2 * half] = -x[..., :half] * (1 + 2**-7 * x[..., half : 2 * half])
        return x

    def _one_sign(self, *shape: int) -> Tensor:
        return (self.normal(*shape).abs() + 0.5) * self.by_row(shape[0], -1.0, 1.0, len(shape))

    def _flat(self, *shape: int) -> Tensor:
        # The square of each number lies just below the middle of two 16-bit numbers: a narrow type rounds all down.
        numbers = _rounded_down(self.dtype if self.dtype != torch.float32 else torch.bfloat16)
        x = numbers[torch.randint(len(numbers), shape, generator=self.generator)]
        return (
            x
            * 2.0 ** torch.randint(-1, 2, shape, generator=self.generator)
            * self.by_row(shape[0], -1.0, 1.0, len(shape))
        )

    def _range(self, *shape: int) -> Tensor:
        return self.normal(*shape) * self.by_row(shape[0], LARGE, SMALL, len(shape))

    def _zero_rows(self, *shape: int) -> Tensor:
        return self.normal(*shape) * self.by_row(shape[0], 0.0, 1.0, len(shape))

    def _subnormal(self, *shape: int) -> Tensor:
        return self.normal(*shape) * self.by_row(shape[0], SUBNORMAL[self.case.dtype], 1.0, len(shape))

    def _largest(self, *shape: int) -> Tensor:
        return self.normal(*shape).sign() * torch.finfo(self.dtype).max

    def _nan(self, *shape: int) -> Tensor:
        x = self.normal(*shape)
        x[len(x) // 2].flatten()[shape[-1] // 2] = torch.nan
        return x

    def _masked(self, *shape: int) -> Tensor:
        keep = torch.rand(shape, generator=self.generator) < 0.5
        return torch.where(keep, self.normal(*shape), -torch.inf)

    def _ties(self, *shape: int) -> Tensor:
        return (2 * self.normal(*shape)).round()

    def _mass(self, *shape: int) -> Tensor:
        # One token has the probability ``mass``, the others share the rest.
        x = torch.zeros(shape)
        for row, mass in zip(x, itertools.cycle((0.4, 0.9, 1 - 2**-20)), strict=False):
            favourite = torch.randint(len(row), (), generator=self.generator)
            row[favourite] = math.log(mass / (1 - mass) * (len(row) - 1))
        return x

    def _halfway(self, *shape: int) -> Tensor:
        # Rows have one sign: where products cancel, what float32 may lose of them hides a float16 factor's rounding.
        x = self._one_sign(*shape)
        return x * x.square().mean(-1, keepdim=True).rsqrt() * self.rms_halfway(*shape[:-1])

    def rms_halfway(self, *rows: int) -> Tensor:
        """The root mean square [*rows, 1] of rows whose inverse lies 0.4 of a step above a random 16-bit number: a
        narrow type rounds it down in every row. Rounding the row moves it by 0.04 to 0.09 of a step. The numbers differ
        between rows, so that no other rounding is biased."""
        step = torch.finfo(self.dtype if self.dtype != torch.float32 else torch.bfloat16).eps
        number = torch.randint(round(1 / step), (*rows, 1), generator=self.generator)
        return 1 / (1 + (number + 0.4) * step)

    @staticmethod
    def by_row(count: int, even: float, odd: float, dims: int = 1) -> Tensor:
        """A factor for each of ``count`` rows, alternating: float32 [count, 1, ...] of ``dims`` dimensions."""
        return torch.tensor([even, odd]).repeat(count)[:count].view(-1, *[1] * (dims - 1))

    def weights(self, rows: int, columns: int) -> Tensor:
        """A projection's weight [rows, columns], of about unit gain."""
        w = self.normal(rows, columns)
        if self.case.profile in ("one_sign", "flat", "halfway"):
            w = w.abs() / columns**0.5  # the products do not cancel
        if self.case.profile == "range":
            w *= self.by_row(rows, LARGE, SMALL, 2)
        if self.case.profile == "cancel":
            half = columns // 2
            w[:, :half] = w[:, :half].abs()
            w[:, half : 2 * half] = w[:, :half]
        if self.case.profile == "qwen":
            w *= torch.exp(0.5 * self.normal(rows, 1))
        return self.place(w / columns**0.5)

    def norm_weight(self, width: int, peak: float = 8.0) -> Tensor:
        """A norm's weight [width]: ones in ``unit``, else uneven; in ``qwen`` some channels reach ``peak``."""
        if self.case.profile == "unit":
            return self.place(torch.ones(width))
        w = torch.exp(0.4 * self.normal(width))
        if self.case.profile == "qwen":
            w[torch.randperm(width, generator=self.generator)[: max(2, width // 24)]] = peak
            w[width // 3] = peak
        return self.place(w)

    def positions(self, count: int, limit: int) -> Tensor:
        """Token positions [count], int64: from 0 in ``unit``, else spread to the table's last row."""
        if self.case.profile == "unit":
            return torch.arange(count).to(self.device)
        spread = torch.randint(0, limit, (count,), generator=self.generator)
        if count:
            spread[-1] = limit - 1
        return spread.to(self.device)


def _rounded_down(dtype: torch.dtype) -> Tensor:
    """All numbers of ``dtype`` in [1, 2), float32, whose square loses 0.6 unit roundoffs or more when it is rounded."""
    step = torch.finfo(dtype).eps
    x = torch.arange(1, 2, step)
    squares = x.square()
    return x[(squares - squares.to(dtype).float()) > 0.6 * step / 2 * squares]


def alternating(count: int, halves: int) -> Tensor:
    """Signs [count] of values that cancel: every second is negative, or with ``halves`` the second half of them: then
    the parts of a sum that is split are large, too."""
    index = torch.arange(count)
    return 1 - 2 * (2 * index // count if halves else index % 2)


def by_tokens(*more: int, **axes: int) -> dict[str, dict[str, int]]:
    """Benchmark shapes of 1, 16, 512, 4096 and ``more`` tokens, with these other axes."""
    counts = sorted({1, 16, 512, 4096, *more})
    return {f"{count} token{'s' * (count > 1)}": {"T": count} | axes for count in counts}


def case_inputs(op: Op, device: str, min_rows: int = 3) -> Inputs:
    """The inputs of the op's first case with at least ``min_rows`` tokens, or rows of a batch, that runs everywhere."""
    case = next(case for case in op.cases if case.get("T", case.get("B")) >= min_rows and not case.large)
    return op.inputs(case, device)
