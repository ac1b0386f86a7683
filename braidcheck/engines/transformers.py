"""Hugging Face transformers as an engine: any causal language model, eager or SDPA attention, with its KV cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers


class Transformers:
    """A loaded model; prompts of a batch are left-padded, as HF does for generation."""

    batch_invariant = False

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        ends = model.generation_config.eos_token_id
        self.stop = ends if isinstance(ends, list) else [] if ends is None else [ends]

    def prefill(self, ids: list[int]) -> torch.Tensor:
        """Logits [T,V]."""
        return self._forward([ids]).logits[0]

    def prefill_batch(self, prompts: list[list[int]]) -> list[torch.Tensor]:
        """Logits [T,V] of each prompt."""
        logits = self._forward(prompts).logits
        return [row[-len(ids) :] for ids, row in zip(prompts, logits)]  # noqa: B905 - of Python 3.10 on

    def generate(self, ids: list[int], n: int, stop: Sequence[int] = ()) -> list[int]:
        """Greedy tokens."""
        return self.generate_batch([ids], n, stop)[0]

    def generate_batch(self, prompts: list[list[int]], n: int, stop: Sequence[int] = ()) -> list[list[int]]:
        """Greedy tokens of each prompt, up to its stop token."""
        return self._generate(prompts, n, stop, do_sample=False)

    def sample(
        self, ids: list[int], n: int, *, temperature: float, top_k: int, top_p: float, min_p: float, seed: int,
        stop: Sequence[int] = (),
    ) -> list[int]:  # fmt: skip
        """Drawn tokens, up to a stop token."""
        torch.manual_seed(seed)
        filters = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        return self._generate([ids], n, stop, do_sample=True, **filters)[0]

    def hidden_states(self, ids: list[int]) -> list[torch.Tensor | None]:
        """Embedding and residual stream; None for the last layer, which HF returns only after the final norm."""
        states = self._forward([ids], output_hidden_states=True).hidden_states
        return [*(state[0] for state in states[:-1]), None]

    @torch.inference_mode()
    def _forward(self, prompts: list[list[int]], **options: Any) -> Any:
        ids, mask = self._padded(prompts)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        return self.model(ids, attention_mask=mask, position_ids=positions, use_cache=False, **options)

    @torch.inference_mode()
    def _generate(self, prompts: list[list[int]], n: int, stop: Any, **options: Any) -> list[list[int]]:
        ids, mask = self._padded(prompts)
        ends = [*self.stop, *stop]
        pad = ends[0] if ends else 0
        ended = {"eos_token_id": ends or None, "pad_token_id": pad, "max_new_tokens": n}
        out = self.model.generate(ids, attention_mask=mask, **ended, **options)[:, ids.shape[1] :].tolist()
        return [_ended(row, ends) for row in out]

    def _padded(self, prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask [B,T], padded on the left."""
        longest = max(map(len, prompts))
        ids = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        return torch.tensor(ids, device=self.model.device), torch.tensor(mask, device=self.model.device)


def _ended(row: list[int], stop: list[int]) -> list[int]:
    return row[: next((place + 1 for place, token in enumerate(row) if token in stop), len(row))]


def _load(directory: str, dtype: torch.dtype, attention: str) -> Transformers:
    transformers.utils.logging.disable_progress_bar()
    return Transformers(
        transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, attn_implementation=attention, local_files_only=True
        )
    )


def float32(directory: str) -> Transformers:
    """In float32, SDPA."""
    return _load(directory, torch.float32, "sdpa")


def bfloat16(directory: str) -> Transformers:
    """In bfloat16, SDPA."""
    return _load(directory, torch.bfloat16, "sdpa")


def float16(directory: str) -> Transformers:
    """In float16, SDPA."""
    return _load(directory, torch.float16, "sdpa")


def eager(directory: str) -> Transformers:
    """In bfloat16, eager attention."""
    return _load(directory, torch.bfloat16, "eager")
