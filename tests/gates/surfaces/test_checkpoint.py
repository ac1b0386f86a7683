"""A checkpoint with another stop token, and the text that goes further than the golden's documents."""

import json

import pytest

from braidcheck.gates.surfaces.ask import NotServed
from braidcheck.gates.surfaces.checkpoint import copy_with_stop, long_text, stop_tokens
from tests.engines import tiny


def test_the_same_checkpoint_ends_answers_elsewhere(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"eos_token_id": [3, 4], "pad_token_id": 3, "layers": 2}))
    (model / "weights").write_text("numbers")
    assert stop_tokens(model) == (3, 4)
    place = copy_with_stop(model, 7, tmp_path / "copy")
    assert stop_tokens(place) == (7,)
    # A padding token that is no stop token any more would be masked in every prompt that has it.
    assert json.loads((place / "config.json").read_text()) == {"eos_token_id": 7, "pad_token_id": 7, "layers": 2}
    assert (place / "weights").read_text() == "numbers"
    assert json.loads((model / "config.json").read_text())["eos_token_id"] == [3, 4]


def test_another_padding_token_stays(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"eos_token_id": 3, "pad_token_id": 0}))
    place = copy_with_stop(model, 7, tmp_path / "copy")
    assert json.loads((place / "config.json").read_text())["pad_token_id"] == 0


def test_a_long_text_is_hfs_where_the_golden_ends():
    texts = tiny.texts()
    assert long_text(lambda ids: pytest.fail("not needed"), texts, 100) is texts[-1]
    made = long_text(lambda ids: tiny.forward(tuple(ids.tolist())), texts, 240)
    assert len(made) == 240
    assert made.truth.argmax.tolist() == tiny.forward(tuple(made.ids.tolist())).argmax(-1).tolist()
    assert float(made.noise.min()) == texts[-1].typical
    with pytest.raises(NotServed, match="the golden has"):
        long_text(lambda ids: pytest.fail("not needed"), texts[:1], 240)
