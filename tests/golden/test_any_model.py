"""A model that is not braidcheck's own, a small Llama of random weights: recorded, gated by HF, wrong where it is."""

import shutil

import pytest
import torch

from braidcheck import models
from braidcheck.engines import transformers as adapter
from braidcheck.engines.client import Client
from braidcheck.errors import CheckpointError
from braidcheck.gates import coherence
from braidcheck.gates.coherence.foreign import measure_foreign
from braidcheck.golden import corpus, texts
from braidcheck.golden.hf import decoder_layers
from braidcheck.golden.record import record
from braidcheck.result import Status
from tests.engines.tiny import Local

FILES = ("tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def llama(tmp_path_factory, nano):
    """The directory of a checkpoint with nano's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=1024, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, rms_norm_eps=1e-5, eos_token_id=0, bos_token_id=0,
        initializer_range=0.2,
    )  # fmt: skip
    place = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(place)
    for name in FILES:
        shutil.copy(nano / name, place / name)
    return place


@pytest.fixture(scope="module")
def golden(llama, tmp_path_factory):
    rows = corpus.load("heldout", 14).select(range(2, 14)).map(lambda _row: {"probes": []})
    text = texts.Text(rows, "twelve documents", corpus.fingerprint(rows), running=False)
    return record(llama, text, tmp_path_factory.mktemp("golden") / "golden", device="cpu")


def statuses(engine, golden):
    made = coherence.evaluate(measure_foreign(Client(lambda: Local(engine), 1024), "hf", golden))
    return {verdict.subject.rpartition(": ")[2]: verdict for verdict in made}


def test_our_own_engine_says_that_it_does_not_run_it(llama):
    with pytest.raises(CheckpointError, match="runs model_type qwen3 only"):
        models.of_checkpoint(llama)


def test_a_recording_has_all_that_a_golden_has(golden):
    document = golden.document(0)
    assert document.truth.hidden.shape[0] == 3
    assert document.truth.entropy.shape[:2] == (3, 4)
    assert all(part.isfinite().all() for part in (document.truth.hidden, document.truth.entropy, document.truth.top))


@pytest.mark.numeric
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_hf_itself_passes(llama, golden, dtype):
    said = statuses(getattr(adapter, dtype)(str(llama)), golden)
    assert {name for name, verdict in said.items() if verdict.status == Status.SKIPPED} == {"entropy", "recall"}
    assert {verdict.status for verdict in said.values()} == {Status.PASS, Status.SKIPPED}, said


@pytest.mark.numeric
def test_a_wrong_rope_base_fails_and_names_the_layer(llama, golden):
    engine = adapter.float32(str(llama))
    engine.model.model.rotary_emb.inv_freq *= 1.5
    said = statuses(engine, golden)
    assert said["kl"].status == said["hidden"].status == Status.FAIL
    assert "departs first at layer 0" in said["kl"].message


def test_layers_that_cannot_be_found_are_said():
    from transformers import LlamaConfig

    model = torch.nn.Module()
    model.config = LlamaConfig(num_hidden_layers=2)
    model.blocks = torch.nn.ModuleList([torch.nn.Identity()])
    with pytest.raises(CheckpointError, match="has no list of its 2 layers"):
        decoder_layers(model)
    model.layers = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
    assert decoder_layers(model) is model.layers
