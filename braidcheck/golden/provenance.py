"""Checks that a golden comes from HF transformers' own code, with eager attention and no hub kernels, in two dtypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

from braidcheck.errors import GoldenError

REQUIRED = {"dtypes": ["float32", "bfloat16"], "attention": "eager", "hub_kernels": False}
HF_CODE = ("transformers", "torch")  # packages whose code a reference model may run


class Runs(TypedDict):
    """The two runs in a golden's manifest."""

    dtypes: list[str]
    attention: str
    hub_kernels: bool
    device: str


def provenance(models: Sequence[Any], device: str) -> Runs:
    """The manifest's entries on the runs, read from their models. Raises GoldenError if a golden must not be recorded
    from them.
    """
    runs: Runs = {
        "dtypes": [_joined(parameter.dtype for parameter in model.parameters()) for model in models],
        "attention": _joined(model.config._attn_implementation for model in models),
        "hub_kernels": any(model.use_kernels for model in models),
        "device": device.split(":")[0],
    }
    if why := unlike(runs) or next(filter(None, map(_foreign, models)), ""):
        raise GoldenError(f"cannot record a golden: {why}; record it from HF transformers as it is installed")
    return runs


def unlike(runs: Mapping[str, Any]) -> str:
    """How ``runs`` differ from those that a golden needs; empty if they do not."""
    wrong = [key for key, expected in REQUIRED.items() if runs.get(key) != expected]
    return f"its runs have {wrong[0]} {runs.get(wrong[0])}, not {REQUIRED[wrong[0]]}" if wrong else ""


def implausible(tensors: Mapping[str, Tensor]) -> str:
    """Why the logits cannot be HF's in float32 and in bfloat16; empty if they can. HF returns logits in the model's
    dtype. An engine with bfloat16 weights returns float32 logits that are not bfloat16 numbers; a supposed float32 run
    that ran in bfloat16 returns only bfloat16 numbers.
    """
    truth, floor = tensors["top.float32"], tensors["top.bfloat16"]
    if (truth.dtype, floor.dtype) != (torch.float32, torch.bfloat16):
        return f"its logits are {truth.dtype} and {floor.dtype}, HF's are torch.float32 and torch.bfloat16"
    if not (truth.isfinite().all() and floor.isfinite().all()):
        return "its logits are not all finite"
    if torch.equal(truth.bfloat16().float(), truth):
        return "its float32 logits are all bfloat16 numbers"
    if torch.equal(truth.bfloat16(), floor):
        return "its bfloat16 logits are the float32 run's, rounded"
    return ""


def _joined(values: Any) -> str:
    return " and ".join(sorted({str(value).removeprefix("torch.") for value in values}))


def _foreign(model: Any) -> str:
    """The first part of ``model`` that runs code other than HF's and torch's; empty if none does."""
    for name, module in model.named_modules():
        home = str(getattr(module.forward, "__module__", None))
        if home.split(".")[0] not in HF_CODE:
            return f"{name or 'the model'} runs code of {home}"
    return ""
