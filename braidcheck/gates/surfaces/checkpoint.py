"""For the surfaces gate: a checkpoint's stop tokens, a copy with another stop token, and HF's logits at late
positions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from braidcheck.gates.surfaces.ask import NotServed
from braidcheck.gates.surfaces.truth import Text
from braidcheck.golden.readings import Readings, best_ids, read_logits

CONFIG, GENERATION = "config.json", "generation_config.json"
MAX_LONG = 4096  # tokens: HF's eager attention holds their square for each head


def long_text(logits_of: Callable[[Tensor], Tensor], texts: Sequence[Text], length: int) -> Text:
    """A Text of ``length`` tokens, at most MAX_LONG: the golden's longest document, or all of them concatenated.

    ``logits_of(ids)`` are HF's of these, in float32; the golden's typical noise of bfloat16 is taken at every position.

    Raises NotServed if the golden has fewer tokens.
    """
    length, longest = min(length, MAX_LONG), texts[-1]
    if len(longest) >= length:
        return longest
    ids = torch.cat([text.ids for text in reversed(texts)])[:length]
    if len(ids) < length:
        raise NotServed(f"the golden has {len(ids)} tokens, the model takes {length}")
    logits = logits_of(ids)
    return _text([logits, logits], ids, longest)


def read_text(runs: Sequence[Callable[[Tensor], Tensor]], texts: Sequence[Text], ids: Tensor) -> Text:
    """A Text of any tokens; ``runs`` give HF's logits of them in float32 and bfloat16."""
    return _text([logits_of(ids) for logits_of in runs], ids, texts[-1])


def _text(logits: Sequence[Tensor], ids: Tensor, golden: Text) -> Text:
    top, nothing = best_ids(logits[0]), torch.empty(0, dtype=torch.int64)
    absent = {name: torch.empty(0) for name in ("hidden", "norm", "entropy")}
    truth, floor = (Readings(**read_logits(run, ids, top, nothing), **absent) for run in logits)
    return Text(-1, ids, top, truth, floor, golden.typical, golden.stops)


def stop_tokens(directory: Path) -> tuple[int, ...]:
    """The model's stop tokens, from generation_config.json or config.json."""
    for name in (GENERATION, CONFIG):
        ends = _json(directory / name).get("eos_token_id")
        if ends is not None:
            return tuple(ends) if isinstance(ends, list) else (ends,)
    return ()


def copy_with_stop(directory: Path, token: int, place: Path) -> Path:
    """A copy of the checkpoint in ``place`` with the stop token ``token``; its other files are links. A padding token
    that was a stop token becomes ``token`` too: HF would mask it wherever a prompt contains it.
    """
    ends = stop_tokens(directory)
    place.mkdir(parents=True, exist_ok=True)
    for path in directory.iterdir():
        if path.name not in (CONFIG, GENERATION) and not (place / path.name).exists():
            (place / path.name).symlink_to(path.resolve())
    for name in (CONFIG, GENERATION):
        entries = {**_json(directory / name), "eos_token_id": token}
        padding = {"pad_token_id": token} if entries.get("pad_token_id") in ends else {}
        (place / name).write_text(json.dumps(entries | padding), encoding="utf-8")
    return place


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
