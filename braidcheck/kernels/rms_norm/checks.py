"""Contract checks of ``rms_norm`` beyond its cases; each returns a violation or None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from braidcheck.kernels.common.inputs import case_inputs
from braidcheck.op import Op


def check_out(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """The call returns ``out`` itself, with the numbers that a call without ``out`` returns."""
    inputs = case_inputs(op, device)
    out = torch.zeros(inputs["x"].shape, dtype=torch.float32, device=device)
    returned = call(**inputs, out=out)
    return None if returned is out and torch.equal(out, call(**inputs)) else "out is not what the call returns"


CONTRACT_CHECKS = {
    "out is written": check_out,
}
