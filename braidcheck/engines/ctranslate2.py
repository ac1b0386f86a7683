"""CTranslate2's generator on the converted checkpoint; the conversion needs transformers and torch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import numpy
from ctranslate2.converters import TransformersConverter


class CTranslate2:
    """A loaded generator. Its scorer takes ids, its decoder names of tokens."""

    def __init__(self, path: str, compute_type: str) -> None:
        self.generator: Any = ctranslate2.Generator(path, compute_type=compute_type)
        self.names: list[str] = json.loads(Path(path, "vocabulary.json").read_text(encoding="utf-8"))
        self.end: str = json.loads(Path(path, "config.json").read_text(encoding="utf-8"))["eos_token"]

    def prefill(self, ids: list[int]) -> Any:
        """Logits [T,V]."""
        return self.prefill_batch([ids])[0]

    def prefill_batch(self, prompts: list[list[int]]) -> list[Any]:
        """Logits [T,V] of each prompt."""
        logits = numpy.array(self.generator.forward_batch(prompts))
        return [rows[: len(ids)] for ids, rows in zip(prompts, logits)]  # noqa: B905 - of Python 3.10 on

    def generate(self, ids: list[int], n: int, stop: Sequence[int] = ()) -> list[int]:
        """Greedy tokens."""
        return self.generate_batch([ids], n, stop)[0]

    def generate_batch(self, prompts: list[list[int]], n: int, stop: Sequence[int] = ()) -> list[list[int]]:
        """Greedy tokens of each prompt.

        Prompts of one token go separately: in a batch with one, CTranslate2 4.8 includes the other prompts in their
        answers.
        """
        answers: dict[int, list[int]] = {}
        for single in (True, False):
            places = [place for place, ids in enumerate(prompts) if (len(ids) == 1) == single]
            answers.update(zip(places, self._answers([prompts[place] for place in places], n, stop)))  # noqa: B905
        return [answers[place] for place in range(len(prompts))]

    def _answers(self, prompts: list[list[int]], n: int, stop: Sequence[int]) -> list[list[int]]:
        names = [[self.names[token] for token in ids] for ids in prompts]
        ends = [self.end, *(self.names[token] for token in stop)]
        results = self.generator.generate_batch(
            names, max_length=n, end_token=ends, return_end_token=True, include_prompt_in_result=False
        )
        return [result.sequences_ids[0] for result in results]


def _load(directory: str, compute_type: str) -> CTranslate2:
    with tempfile.TemporaryDirectory() as path:
        TransformersConverter(directory).convert(path, force=True)
        return CTranslate2(path, compute_type)


def float32(directory: str) -> CTranslate2:
    """In float32."""
    return _load(directory, "float32")


def int8(directory: str) -> CTranslate2:
    """Weights and the products' operands in 8 bits."""
    return _load(directory, "int8")


def int16(directory: str) -> CTranslate2:
    """Weights and the products' operands in 16 bits."""
    return _load(directory, "int16")
