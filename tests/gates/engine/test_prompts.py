"""Prompts in chunks: the engine passes, and a chunk at another place is seen."""

import pytest

from braidcheck.gates.engine import prompts
from braidcheck.models.metadata import AttentionMetadata


@pytest.mark.parametrize("number", [0, 3])
def test_a_second_chunk_one_place_on_is_seen(tinies, monkeypatch, number):
    check = list(dict(prompts.prompt_checks(tinies[0], "cpu")).values())[number]
    assert check() is None
    plain = AttentionMetadata.prefill.__func__

    def prefill(cls, count, device, start=0):
        made = plain(cls, count, device, start)
        return AttentionMetadata(made.positions + (start > 0), start)

    monkeypatch.setattr(AttentionMetadata, "prefill", classmethod(prefill))
    assert "logits of" in check()
