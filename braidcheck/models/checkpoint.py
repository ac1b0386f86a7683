"""The tensors of a checkpoint directory, as they are stored."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from braidcheck.errors import CheckpointError


def read_tensors(directory: str | Path, device: str) -> dict[str, Tensor]:
    """All tensors of the safetensors files of ``directory``. Raises CheckpointError if one is missing or damaged."""
    directory = Path(directory)
    index = directory / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    tensors: dict[str, Tensor] = {}
    for name in names:
        try:
            with safe_open(directory / name, framework="pt", device=device) as file:
                tensors.update({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
        except FileNotFoundError:
            raise CheckpointError(f"{directory} has no {name}: give the directory of a whole checkpoint") from None
        except SafetensorError as error:
            raise CheckpointError(f"{directory / name} is damaged ({error}): fetch it again") from None
    return tensors
