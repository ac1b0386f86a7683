"""ONNX Runtime GenAI on the checkpoint, exported by its own builder, which needs onnx_ir, transformers and torch."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import onnxruntime_genai


class OnnxRuntimeGenAi:
    """A loaded model; one prompt at a time, each with a generator of its own."""

    def __init__(self, path: str) -> None:
        self.model: Any = onnxruntime_genai.Model(path)
        self.ends: list[int] = _ends(path)

    def prefill(self, ids: list[int]) -> Any:
        """Logits [T,V]."""
        return self._generator(ids, 0).get_output("logits")[0]

    def generate(self, ids: list[int], n: int, stop: Sequence[int] = ()) -> list[int]:
        """Greedy tokens."""
        generator, answer = self._generator(ids, n), list[int]()
        while len(answer) < n:
            generator.generate_next_token()
            answer.append(int(generator.get_next_tokens()[0]))
            if answer[-1] in (*self.ends, *stop):
                break
        return answer

    def _generator(self, ids: list[int], n: int) -> Any:
        """A generator that has read the prompt, with room for ``n`` tokens more."""
        parameters = onnxruntime_genai.GeneratorParams(self.model)
        parameters.set_search_options(max_length=len(ids) + n, do_sample=False)
        generator = onnxruntime_genai.Generator(self.model, parameters)
        generator.append_tokens(numpy.array(ids, "int32"))
        return generator


def _ends(path: str) -> list[int]:
    """Ids of the tokens that end an answer."""
    ends = json.loads(Path(path, "genai_config.json").read_text(encoding="utf-8"))["model"]["eos_token_id"]
    return ends if isinstance(ends, list) else [ends]


def _load(directory: str, precision: str) -> OnnxRuntimeGenAi:
    with tempfile.TemporaryDirectory() as path, tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-e", "cpu", "-p", precision]
        subprocess.run([*command, "-i", directory, "-o", path, "-c", cache], check=True, stdout=sys.stderr)
        return OnnxRuntimeGenAi(path)


def fp32(directory: str) -> OnnxRuntimeGenAi:
    """In float32."""
    return _load(directory, "fp32")


def int4(directory: str) -> OnnxRuntimeGenAi:
    """Weights of 4 bits."""
    return _load(directory, "int4")
