"""How the next token is chosen: greedily, or sampled with a seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from braidcheck.errors import UserError
from braidcheck.kernels.common.specs import FLOAT32_MAX, MIN_NORMAL

MAX_TOP_K = 2**30


@dataclass(frozen=True)
class Sampling:
    """Temperature, then top-k, then top-p, as in transformers; temperature 0 takes the most likely token. ``top_k`` 0
    and ``top_p`` 1 keep all tokens. Each row of a batch has its own random numbers, by ``seed``, row and position: the
    same call gives the same tokens. Raises UserError for invalid numbers.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for fine, message in (
            (
                self.temperature == 0 or MIN_NORMAL <= self.temperature <= FLOAT32_MAX,
                f"temperature {self.temperature}: give 0, for the most likely token, or a number from {MIN_NORMAL:.3g}"
                f" to {FLOAT32_MAX:.3g}",
            ),
            (
                type(self.top_k) is int and 0 <= self.top_k <= MAX_TOP_K,
                f"top_k {self.top_k}: give a whole number up to {MAX_TOP_K}, 0 for all",
            ),
            (MIN_NORMAL <= self.top_p <= 1, f"top_p {self.top_p}: give a number from {MIN_NORMAL:.3g} to 1"),
            (type(self.seed) is int and 0 <= self.seed < 2**31, f"seed {self.seed}: give one from 0 to 2**31 - 1"),
            (
                self.temperature or (self.top_k, self.top_p) == (0, 1),
                "top_k and top_p do nothing at temperature 0: give a temperature",
            ),
        ):
            if not fine:
                raise UserError(message)

    @property
    def greedy(self) -> bool:
        """Whether decoding is greedy."""
        return self.temperature == 0

    def seeds(self, rows: int, device: torch.device | str) -> Tensor:
        """The seed int64 [rows] of each row's noise."""
        return (self.seed << 32) + torch.arange(rows, device=device)


GREEDY = Sampling()
