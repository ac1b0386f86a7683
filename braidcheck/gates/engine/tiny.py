"""A tiny HF model with constants unlike any default, and HF's answers with it: the reference of the engine checks."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from braidcheck import scratch
from braidcheck.models.architecture import Architecture

THETA = 500.0
PROMPT, ANSWER = 9, 5
DOCUMENT = 400  # tokens: three chunks and more of the sizes that the gate sets


@dataclass(frozen=True)
class Tiny:
    """A checkpoint ``directory``, which is removed with this object; ``ids`` [T] and HF's float32 ``logits`` [T,V] for
    them; ``table`` [P,D] HF's cosines and sines; ``answer`` HF's greedy tokens after the first PROMPT ids; ``floor`` HF
    bfloat16's logits. ``document`` [DOCUMENT] are more ids, ``document_logits`` HF's float32 logits for them."""

    directory: Path
    architecture: Architecture
    ids: Tensor
    logits: Tensor
    floor: Tensor
    table: Tensor
    answer: list[int]
    document: Tensor
    document_logits: Tensor

    @property
    def sizes(self) -> Mapping[str, Any]:
        """The entries of its config.json."""
        return self.architecture.tiny


def make(architecture: Architecture, tied: bool = True) -> Tiny:
    """The architecture's tiny model, written to a temporary directory, and HF's answers. Deterministic.

    The directory is removed when the result is no longer held, at the latest when the process ends.
    """
    import transformers

    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": THETA}
    sizes = {**architecture.tiny, "tie_word_embeddings": tied}
    hf_config = getattr(transformers, architecture.hf_config)
    config = hf_config(**sizes, rope_parameters=rope, attn_implementation="eager")
    model = getattr(transformers, architecture.hf_model)(config).eval()
    for name, parameter in model.named_parameters():
        drawn = torch.exp(0.5 * torch.randn_like(parameter)) if "norm" in name else 0.2 * torch.randn_like(parameter)
        parameter.data = drawn.to(torch.bfloat16).float()  # exact in bfloat16 too
    folder = scratch.Folder("tiny")
    directory = folder.path
    model.save_pretrained(directory)
    entries = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    # One class of HF's may serve several architectures.
    (directory / "config.json").write_text(json.dumps(entries | {"model_type": architecture.name}), encoding="utf-8")
    ids = torch.randint(0, sizes["vocab_size"], (27,), generator=torch.Generator().manual_seed(4))
    document = torch.randint(0, sizes["vocab_size"], (DOCUMENT,), generator=torch.Generator().manual_seed(8))
    with torch.inference_mode():
        document_logits = model(document[None]).logits[0]
        logits = model(ids[None]).logits[0]
        answer = model.generate(ids[None, :PROMPT], max_new_tokens=ANSWER, do_sample=False, eos_token_id=None)
        table = _table(model, sizes)
        floor = model.to(torch.bfloat16)(ids[None]).logits[0].float()
    made = Tiny(
        directory, architecture, ids, logits.clone(), floor, table, answer[0, PROMPT:].tolist(),
        document, document_logits.clone(),
    )  # fmt: skip
    weakref.finalize(made, folder.close)
    return made


def _table(model: Any, sizes: Mapping[str, Any]) -> Tensor:
    positions = torch.arange(sizes["max_position_embeddings"])[None]
    cos, sin = model.model.rotary_emb(torch.zeros(1, 1), positions)
    half = sizes["head_dim"] // 2
    return torch.cat([cos[0, :, :half], sin[0, :, :half]], dim=-1).clone()
