"""What a decoded token reads."""

import torch

from braidcheck.benchmarks.speed import read_bytes
from braidcheck.models.qwen3.architecture import QWEN3_0_6B
from braidcheck.models.qwen3.weights import Weights


def test_a_token_reads_every_weight_but_the_embedding():
    tensors = {name: torch.empty(shape, device="meta") for name, shape in QWEN3_0_6B.tensor_shapes().items()}
    read = read_bytes(Weights.from_tensors(tensors, QWEN3_0_6B, torch.bfloat16))
    norms = 28 * (2 * 1024 + 2 * 128) + 1024
    layer = 1024 * (2048 + 2 * 1024) + 2048 * 1024 + 3 * 1024 * 3072
    assert read == 2 * (28 * layer + norms + 151936 * 1024)
    assert round(read / 1e6) == 1192
