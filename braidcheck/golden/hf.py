"""Hugging Face transformers as the reference: eager attention, no hub kernels, one document at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from braidcheck.errors import CheckpointError
from braidcheck.golden.readings import Readings, Samples, Tracer, best_ids, read_logits
from braidcheck.models.architecture import read_config

UNLIMITED = 1 << 30  # positions of a model whose config has no limit


@dataclass(frozen=True)
class Reference:
    """An HF causal language model in one dtype on one device."""

    model: Any
    device: str

    @property
    def config(self) -> Any:
        """The config of the text model, for a model with other parts only that part's."""
        return self.model.config.get_text_config()

    @property
    def max_tokens(self) -> int:
        """Positions that the model takes."""
        return getattr(self.config, "max_position_embeddings", None) or UNLIMITED

    def logits(self, ids: Tensor) -> Tensor:
        """Logits [T, V] of one document, in the model's dtype and on its device."""
        with torch.inference_mode(), exact_matmul():
            return self.model(ids[None].to(self.device), use_cache=False).logits[0]

    def read(self, ids: Tensor, samples: Samples, top_ids: Tensor | None = None) -> tuple[Readings, Tensor]:
        """Readings of one document, and the ids [T, 64] of their logits: ``top_ids``, or its own best."""
        tracer = Tracer(samples)
        with self._tracing(tracer, samples.positions):
            logits = self.logits(ids)
        top_ids = best_ids(logits) if top_ids is None else top_ids
        return Readings(**read_logits(logits, ids, top_ids, samples.full), **tracer.stacked()), top_ids.cpu()

    def generate(self, ids: Tensor, count: int) -> list[int]:
        """Up to ``count`` greedy tokens after ``ids``; stops after the end-of-text token as HF does."""
        ends = self.model.generation_config.eos_token_id
        pad = ends[0] if isinstance(ends, list) else ends
        with torch.inference_mode(), exact_matmul():
            prompt = ids[None].to(self.device)
            options = {"do_sample": False, "max_new_tokens": count, "pad_token_id": pad, "eos_token_id": ends}
            out = self.model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
        return out[0, len(ids) :].tolist()

    @contextmanager
    def _tracing(self, tracer: Tracer, positions: Tensor) -> Iterator[None]:
        handles, layers = [], decoder_layers(self.model)
        attention = [[part for part in layer.children() if "Attention" in type(part).__name__] for layer in layers]
        for number, layer in enumerate(layers):

            def states(_module: Any, _inputs: Any, output: Any, number: int = number) -> None:
                tracer(number, "hidden", (output[0] if isinstance(output, tuple) else output)[0])

            def weights(_module: Any, _inputs: Any, output: Any, number: int = number) -> None:
                tracer.attention(number, output[1][0][:, positions.to(output[1].device)])

            handles.append(layer.register_forward_hook(states))
            if all(attention):  # in a hybrid model some layers have none
                handles += [part.register_forward_hook(weights) for part in attention[number]]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def decoder_layers(model: Any) -> Sequence[Any]:
    """The modules whose outputs are the residual stream. Raises CheckpointError for a model of another structure."""
    count = model.config.get_text_config().num_hidden_layers
    lists = [part for part in model.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == count]
    if not lists:
        raise CheckpointError(f"{type(model).__name__} has no list of its {count} layers: braidcheck cannot trace it")
    return lists[0]


@contextmanager
def exact_matmul() -> Iterator[None]:
    """Float32 products in float32 and bfloat16 sums in float32: no TF32 and no narrow reductions on a GPU."""
    settings = torch.backends.cuda.matmul
    before = settings.allow_tf32, settings.allow_bf16_reduced_precision_reduction
    settings.allow_tf32, settings.allow_bf16_reduced_precision_reduction = False, False
    try:
        yield
    finally:
        settings.allow_tf32, settings.allow_bf16_reduced_precision_reduction = before


def load_reference(checkpoint: Path, dtype: torch.dtype, device: str) -> Reference:
    """HF's causal language model of a checkpoint directory. Raises CheckpointError, in one line, if it cannot be loaded
    completely.
    """
    import transformers
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    read_config(checkpoint)  # which says more than HF where it cannot be read
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint,
            dtype=dtype,
            attn_implementation="eager",
            use_kernels=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise CheckpointError(f"cannot load {checkpoint}: {' '.join(str(error).split())[:300]}") from None
    # HF fills missing tensors with random numbers, ignores extra ones, and only warns.
    if absent := sorted(info["missing_keys"]):
        raise CheckpointError(f"{checkpoint} lacks {', '.join(map(str, absent[:3]))}: the checkpoint is not complete")
    if unknown := sorted(info["unexpected_keys"]):
        named = ", ".join(map(str, unknown[:3]))
        raise CheckpointError(
            f"{checkpoint} has {named}, which {type(model).__name__} does not have: is config.json its own?"
        )
    return Reference(model.eval().to(device), device)


def load_tokenizer(checkpoint: Path) -> Any:
    """The checkpoint's own tokenizer. Raises CheckpointError if it has no fast one (offsets are needed)."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"no tokenizer in {checkpoint}: {str(error).splitlines()[0]}") from None
    if not tokenizer.is_fast:
        raise CheckpointError(f"the tokenizer of {checkpoint} gives no offsets: add its tokenizer.json")
    return tokenizer
