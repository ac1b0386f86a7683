"""A tiny Qwen3 of HF's with constants unlike any default, and what HF answers with it: the truth of the probes."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SIZES: Mapping[str, Any] = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 40, "vocab_size": 300, "max_position_embeddings": 640, "rms_norm_eps": 0.03,
    "tie_word_embeddings": True,
}  # fmt: skip
THETA = 500.0
PROMPT, ANSWER = 9, 5


@dataclass(frozen=True)
class Tiny:
    """A checkpoint ``directory``, which is removed with this object; ``ids`` [T] and HF's float32 ``logits`` [T,V] for
    them; ``table`` [P,D] HF's cosines and sines; ``answer`` HF's greedy tokens after the first PROMPT ids; ``floor`` HF
    bfloat16's logits."""

    directory: Path
    ids: Tensor
    logits: Tensor
    floor: Tensor
    table: Tensor
    answer: list[int]


def make(tied: bool = True) -> Tiny:
    """The tiny model, written to a temporary directory, and HF's answers. Deterministic.

    The directory is removed when the result is no longer held, at the latest when the process ends.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": THETA}
    sizes = {**SIZES, "tie_word_embeddings": tied}
    model = Qwen3ForCausalLM(Qwen3Config(**sizes, rope_parameters=rope, attn_implementation="eager")).eval()
    for name, parameter in model.named_parameters():
        drawn = torch.exp(0.5 * torch.randn_like(parameter)) if "norm" in name else 0.2 * torch.randn_like(parameter)
        parameter.data = drawn.to(torch.bfloat16).float()  # exact in bfloat16 too
    directory = Path(tempfile.mkdtemp(prefix="braidcheck-tiny-"))
    model.save_pretrained(directory)
    ids = torch.randint(0, SIZES["vocab_size"], (27,), generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        logits = model(ids[None]).logits[0]
        answer = model.generate(ids[None, :PROMPT], max_new_tokens=ANSWER, do_sample=False, eos_token_id=None)
        table = _table(model)
        floor = model.to(torch.bfloat16)(ids[None]).logits[0].float()
    made = Tiny(directory, ids, logits.clone(), floor, table, answer[0, PROMPT:].tolist())
    weakref.finalize(made, shutil.rmtree, directory, ignore_errors=True)
    return made


def _table(model: Any) -> Tensor:
    positions = torch.arange(SIZES["max_position_embeddings"])[None]
    cos, sin = model.model.rotary_emb(torch.zeros(1, 1), positions)
    half = SIZES["head_dim"] // 2
    return torch.cat([cos[0, :, :half], sin[0, :, :half]], dim=-1).clone()
