"""The tiny models of the engine gate."""

import pytest
import torch

from braidcheck.gates.engine import tiny_models


@pytest.fixture(scope="session")
def tinies():
    with torch.random.fork_rng(devices=[]):
        return tiny_models("qwen3")
