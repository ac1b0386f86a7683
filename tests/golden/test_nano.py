"""The nano checkpoint as shipped, its tokenizer, and the recipe in miniature."""

import itertools
import math
from pathlib import Path

import pytest
import torch

from braidcheck import golden
from braidcheck.golden import corpus, grammar
from tools import tokenizer_nano, train_nano

NANO = Path(golden.__file__).parent / "nano"
FEW = [grammar.document(f"nano/{number}", "heldout", "brief", 400) for number in range(3)]


def load():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(NANO, dtype=torch.float32, attn_implementation="eager")


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(NANO)


def test_checkpoint_is_a_qwen3_of_the_stated_shape(model):
    from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

    assert type(model) is Qwen3ForCausalLM
    stated = {
        "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 576, "num_hidden_layers": 5,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 64, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True, "attention_bias": False, "max_position_embeddings": 4096,
    }  # fmt: skip
    assert {name: getattr(model.config, name) for name in stated} == stated
    assert model.config.rope_parameters["rope_theta"] == 1e6
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert AutoModelForCausalLM.from_pretrained(NANO).dtype == torch.bfloat16


def test_checkpoint_is_small():
    assert sum(path.stat().st_size for path in NANO.iterdir()) <= 8_000_000


def test_key_norms_have_the_real_model_s_trait(model):
    for layer, value in zip(model.model.layers, (96.5, 44.5, 44.0, 41.75, 34.0), strict=True):
        weight = layer.self_attn.k_norm.weight
        partner = weight.roll(32)
        assert weight.max() == value
        held = weight == value
        assert held.sum() == 5
        assert (partner[held].abs() < value / 5).all()


def test_a_digit_is_one_token_and_every_piece_is(tokenizer):
    for text in [*"0123456789", *{piece for row in FEW for piece in grammar._piece.findall(row.text)}]:
        assert len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 1
    digits = tokenizer("2048 and37", add_special_tokens=False)["input_ids"]
    assert [tokenizer.decode([token]) for token in digits if tokenizer.decode([token]).strip().isdigit()] == [*"204837"]


@pytest.mark.parametrize(
    "text", [FEW[0].text, "", " two  spaces\n\ttab\r\n", "naïve ½ 日本語 🙂 \x00\x7f", "don't <b>"]
)
def test_tokenizer_survives_the_round_trip(tokenizer, text):
    tokens = tokenizer(text)["input_ids"]
    assert tokens[0] == tokenizer.bos_token_id == 0
    assert tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text


def test_tokenizer_is_the_recipe_s(tokenizer):
    assert tokenizer_nano.build().backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_nano_is_near_the_floor_and_answers(model, tokenizer):
    found = train_nano.evaluate(model, tokenizer, FEW)
    assert found["perplexity"] < 1.03 * found["floor"]
    assert all(found[kind] == 1 for kind in grammar.KINDS)


def test_wrong_theta_ruins_nano(tokenizer):
    from transformers.models.qwen3 import modeling_qwen3

    wrong = load()
    wrong.config.rope_parameters["rope_theta"] = 1e4
    wrong.model.rotary_emb = modeling_qwen3.Qwen3RotaryEmbedding(wrong.config)
    found = train_nano.evaluate(wrong, tokenizer, FEW)
    assert found["perplexity"] > 2 * found["floor"]


def test_rotating_before_the_norms_ruins_nano(tokenizer, monkeypatch):
    from transformers.models.qwen3 import modeling_qwen3

    wrong = load()
    norms = []
    for layer in wrong.model.layers:
        attention = layer.self_attn
        norms.append((attention.q_norm, attention.k_norm))
        attention.q_norm = attention.k_norm = torch.nn.Identity()
    rotate, turn = modeling_qwen3.apply_rotary_pos_emb, itertools.cycle(norms)

    def rotate_first(*arguments):
        return [norm(rotated) for norm, rotated in zip(next(turn), rotate(*arguments), strict=True)]

    monkeypatch.setattr(modeling_qwen3, "apply_rotary_pos_emb", rotate_first)
    found = train_nano.evaluate(wrong, tokenizer, FEW)
    assert found["perplexity"] > 2 * found["floor"]
    assert found["recall"] < 0.8


def test_held_channels_matter(tokenizer):
    plain = load()
    for layer in plain.model.layers:
        layer.self_attn.k_norm.weight.data.clamp_(max=10)
    assert train_nano.evaluate(plain, tokenizer, FEW)["recall"] < 0.5


def test_evaluate_counts_a_wrong_answer(model, tokenizer):
    """An argmax shifted by one token must turn every probe into a miss."""

    class Shifted:
        device = model.device

        def __call__(self, ids, use_cache):
            answer = model(ids, use_cache=use_cache)
            answer.logits = answer.logits.roll(1, -1)
            return answer

    found = train_nano.evaluate(Shifted(), tokenizer, FEW)
    assert [found[kind] for kind in grammar.KINDS] == [0.0] * 5


def test_recipe_in_miniature(tokenizer, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(train_nano, "ROW", 48)
    monkeypatch.setattr(train_nano, "BRIEF", 16)
    batches = train_nano.Batches(tokenizer, steps=2, rows=2, seed=5)
    pair = [batches[step] for step in range(2)]
    assert [tuple(ids.shape) for ids in pair[0]] == [(6, 17), (2, 49)]
    assert torch.equal(pair[0][1], train_nano.Batches(tokenizer, 2, 2, 5)[0][1])
    assert not torch.equal(pair[0][1], pair[1][1])
    model = train_nano.build(seed=1)
    before = model.model.layers[0].self_attn.k_norm.weight.detach().clone()
    assert train_nano.train(model, pair, steps=2, minutes=1, rate=1e-2) == 2 * (6 * 16 + 2 * 48)
    changed = (model.model.layers[0].self_attn.k_norm.weight != before).nonzero().flatten().tolist()
    assert changed
    assert not set(changed) & set(train_nano.HELD_CHANNELS)
    out = tmp_path / "nano"
    (out / "stale").mkdir(parents=True)
    train_nano.save(model, tokenizer, out)
    assert not (out / "stale").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["nano"]
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16


def test_pace_warms_up_and_ends_at_zero():
    assert [train_nano.pace(x) for x in (0.0, 0.02, 0.5, 0.75, 1.0)] == pytest.approx([0, 1, 1, 0.5, 0])


def test_floor_of_the_gate_s_texts(tokenizer):
    """The floor that the README states."""
    nats = tokens = 0
    for document in corpus.documents():
        nats, tokens = nats + document.nats, tokens + len(tokenizer(document.text)["input_ids"]) - 1
    assert (tokens, round(math.exp(nats / tokens), 4)) == (9578, 2.9231)
