"""The tiny model's checkpoint: there while it is held, gone afterwards."""

import gc
import tempfile

import torch

from braidcheck import models
from braidcheck.gates.engine import tiny


def test_the_checkpoint_is_removed_with_the_model(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with torch.random.fork_rng(devices=[]):
        model = tiny.make(models.find()["qwen3"])
    assert (model.directory / "config.json").exists()
    assert list(tmp_path.glob("braidcheck-*")) == [model.directory]
    del model
    gc.collect()
    assert list(tmp_path.glob("braidcheck-*")) == []
