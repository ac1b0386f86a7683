"""llama.cpp in-process through llama-cpp-python, on a GGUF file converted from the checkpoint; needs gguf and
safetensors too.

The KV cache is float32 in ``f32`` and float16, llama.cpp's default, in the others.
"""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy

convert = runpy.run_path(str(Path(__file__).with_name("gguf_file.py")))["convert"]


class LlamaCpp:
    """A loaded model; one prompt at a time."""

    def __init__(self, path: Path, cache_type: int) -> None:
        context = llama_cpp.Llama(
            str(path), n_ctx=0, logits_all=True, verbose=False, type_k=cache_type, type_v=cache_type
        )
        self.model: Any = context

    def prefill(self, ids: list[int]) -> Any:
        """Logits [T,V]."""
        self.model.reset()
        self.model.eval(ids)
        return self.model.scores[: len(ids)]

    def generate(self, ids: list[int], n: int, stop: Sequence[int] = ()) -> list[int]:
        """Greedy tokens."""
        return self._drawn(ids, n, [self.model.token_eos(), *stop], temp=0.0)

    def sample(
        self,
        ids: list[int],
        n: int,
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        seed: int,
        stop: Sequence[int] = (),
    ) -> list[int]:
        """Sampled tokens. llama.cpp itself divides by the temperature last, after the filters."""
        first = llama_cpp.LogitsProcessorList([lambda _ids, logits: logits / numpy.float32(temperature)])
        filters = {"temp": 1.0, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        self.model.set_seed(seed)
        return self._drawn(ids, n, [self.model.token_eos(), *stop], logits_processor=first, **filters)

    def _drawn(self, ids: list[int], n: int, ends: list[int], **filters: Any) -> list[int]:
        answer: list[int] = []
        for token in self.model.generate(ids, reset=True, repeat_penalty=1.0, **filters):
            answer.append(token)
            if len(answer) == n or token in ends:
                break
        return answer


def _load(directory: str, quantization: str, cache_type: int = llama_cpp.GGML_TYPE_F16) -> LlamaCpp:
    with tempfile.TemporaryDirectory() as folder:  # an open file's pages stay
        path = Path(folder, "model.gguf")
        convert(Path(directory), path, quantization)
        return LlamaCpp(path, cache_type)


def f32(directory: str) -> LlamaCpp:
    """In float32, the KV cache too."""
    return _load(directory, "F32", llama_cpp.GGML_TYPE_F32)


def f16(directory: str) -> LlamaCpp:
    """Weights and KV cache in float16."""
    return _load(directory, "F16")


def bf16(directory: str) -> LlamaCpp:
    """Weights in bfloat16."""
    return _load(directory, "BF16")


def q8_0(directory: str) -> LlamaCpp:
    """Weights of 8 bits."""
    return _load(directory, "Q8_0")


def q4_0(directory: str) -> LlamaCpp:
    """Weights of 4 bits."""
    return _load(directory, "Q4_0")
