"""Reads the tensors of a checkpoint directory as stored."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from braidcheck.errors import CheckpointError


def _names(index: Path) -> list[str]:
    """The files that an index names, which must be .safetensors files in its folder."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except OSError as error:
        raise CheckpointError(f"cannot read {index}: {error.strerror}") from None
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{index} holds no weight_map of file names: fetch the checkpoint again") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{index} names {str(name)[:80]!r}, which is not a .safetensors file beside it")
    if not names:
        raise CheckpointError(f"{index} names no file: fetch the checkpoint again")
    return names


def read_tensors(directory: str | Path, device: str) -> dict[str, Tensor]:
    """All tensors of the safetensors files of ``directory``. Raises CheckpointError if one is missing or damaged."""
    directory = Path(directory)
    index = directory / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists():
        names = _names(index)
    tensors: dict[str, Tensor] = {}
    for name in names:
        try:
            with safe_open(directory / name, framework="pt", device=device) as file:
                tensors.update({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
        except FileNotFoundError:
            raise CheckpointError(f"{directory} has no {name}: give the directory of a complete checkpoint") from None
        except OSError as error:
            raise CheckpointError(f"cannot read {directory / name}: {error.strerror}") from None
        except SafetensorError as error:
            raise CheckpointError(f"{directory / name} is damaged ({error}): fetch it again") from None
    return tensors
