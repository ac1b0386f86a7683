"""Which ops the model calls, measured on a tiny one: for a document and for a greedy answer, by attention backend."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache

import torch

from braidcheck.models.build import of_tensors
from braidcheck.models.metadata import AttentionMetadata
from braidcheck.models.ops import REFERENCES
from braidcheck.models.qwen3.architecture import QWEN3_0_6B
from braidcheck.settings import ATTENTIONS

CONFIG = replace(
    QWEN3_0_6B,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    intermediate_size=32,
    vocab_size=16,
    max_position_embeddings=16,
)


@dataclass(frozen=True)
class Calls:
    """The names of the ops that one backend's model calls for a ``document``, an ``answer``, and in ``layers``."""

    document: frozenset[str]
    answer: frozenset[str]
    layers: frozenset[str]


@cache
def of(attention: str) -> Calls:
    """The calls of the model with this attention backend."""
    tensors = {name: torch.ones(shape) for name, shape in CONFIG.tensor_shapes().items()}
    calls: Counter[str] = Counter()
    model = of_tensors(CONFIG, tensors, torch.float32, attention=attention, ops=REFERENCES.counted(calls))
    cache, ids = model.new_cache(1, 4), torch.tensor([1, 2])
    prefilled = model.forward(ids, AttentionMetadata.prefill(len(ids), "cpu"), cache)
    prefill = frozenset(calls)
    model.logits(prefilled)
    document = frozenset(calls)
    calls.clear()
    decoded = model.forward(ids[:1], AttentionMetadata.decode(torch.tensor([2])), cache)
    decode = frozenset(calls)
    model.next_tokens(decoded)
    return Calls(document, frozenset(calls), prefill | decode)


def attention_for(op: str) -> str | None:
    """The first backend that calls ``op`` for documents, else the first that does for answers; None if no model calls
    it."""
    by_document = (attention for attention in ATTENTIONS if op in of(attention).document)
    by_answer = (attention for attention in ATTENTIONS if op in of(attention).answer)
    return next(by_document, None) or next(by_answer, None)
