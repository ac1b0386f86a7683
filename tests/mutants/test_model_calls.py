"""Which ops the model calls: read off a tiny model, so that no table of them can fall behind."""

import pytest

from braidcheck.mutants import model_calls
from braidcheck.settings import ATTENTIONS, PRODUCTION


@pytest.mark.parametrize(
    ("op", "attention"),
    [
        ("rms_norm", PRODUCTION),
        ("decode_attention", PRODUCTION),
        ("rms_norm_qkv", "fused"),  # production takes it for answers only
        ("attention_decode", "separated"),
        ("fused_attention", "fully_fused"),
        ("sample", None),  # answers are greedy
        ("no_op", None),
    ],
)
def test_attention_for_prefers_documents(op, attention):
    assert model_calls.attention_for(op) == attention


def test_head_is_no_part_of_a_layer():
    for attention in ATTENTIONS:
        calls = model_calls.of(attention)
        assert "lm_head" in calls.document & calls.answer
        assert calls.layers == (calls.document | calls.answer) - {"lm_head"}
