"""Whole models of equivalent implementations: the same draw for a seed, every choice within reach, and a dishonest one
refused."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.golden.resolve import resolve
from braidcheck.golden.subset import drawn
from braidcheck.mutants import equivalents, models


@pytest.fixture(scope="module")
def nano():
    return resolve()


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr(models, "TOKENS", 1000)


def test_a_seed_draws_the_same_model_again():
    assert models.draw(7, "interpret") == models.draw(7, "interpret") != models.draw(8, "interpret")


def test_every_candidate_is_drawn_on_a_gpu():
    found = {pair for seed in range(400) for pair in models.draw(seed, "gpu").functions.items()}
    assert found == {(op, name) for op in kernels.find() for name in models.candidates(op)}


def test_the_interpreter_gets_triton_code_for_one_op_of_one_model_in_four():
    drawn_functions = [models.draw(seed, "interpret").functions for seed in range(40)]
    slow = [sum(models.in_triton(*choice) for choice in functions.items()) for functions in drawn_functions]
    assert slow == [int(seed % 4 == 0) for seed in range(40)]


def test_products_that_float16_cannot_hold_are_not_rounded_to_it():
    for seed in range(100):
        model = models.draw(seed, "gpu")
        if model.storage == "float16":
            assert model.functions["linear_residual"] not in ("product rounded", "library")


def test_a_part_of_the_golden_is_enough_and_has_its_prompts(nano):
    _, golden = nano
    parts = [drawn(golden, 1000, 4, 2, 20, seed) for seed in range(20)]
    for part in parts:
        assert sum(len(part.document(number).ids) for number in range(len(part))) >= 1000
        assert len(part) >= 4
        assert len(part.continuations()) == 2
    assert len({tuple(part.numbers) for part in parts}) > 10


def test_equivalent_model_is_accepted(nano, brief):
    seen = models.measure(models.draw(2, "interpret"), *nano, "cpu")
    assert (seen["refused"], seen["raised"]) == ([], None)
    assert seen["checks"]["hidden"][0] == "pass"
    assert "lm_head" in seen["functions"]
    assert "fused_attention" not in seen["functions"]


def test_wrong_variant_is_refused(nano, brief, monkeypatch):
    def twice_as_loud(x, weight, residual):
        return (residual.float() + 1.02 * (x.float() @ weight.float().T)).to(residual.dtype)

    model = models.draw(2, "interpret")
    own = equivalents.find
    louder = {model.functions["linear_residual"]: twice_as_loud}
    monkeypatch.setattr(equivalents, "find", lambda op: own(op) | louder if op == "linear_residual" else own(op))
    seen = models.measure(model, *nano, "cpu")
    assert any("hidden" in message for message in seen["refused"])


def test_what_raises_is_said(nano, brief, monkeypatch):
    model = models.draw(2, "interpret")
    monkeypatch.setattr(models, "measure_coherence", lambda *_: 1 / 0)
    assert models.measure(model, *nano, "cpu")["raised"] == "ZeroDivisionError: division by zero"


def test_a_float16_model_keeps_a_wide_residual_stream(nano):
    model = next(m for m in (models.draw(seed, "gpu") for seed in range(99)) if m.storage == "float16")
    engine = models.load(nano[0], "cpu", model)
    assert engine.model.weights.embedding.dtype == torch.float32
    assert engine.model.weights.head.dtype == engine.model.new_cache(1, 1).k[0].dtype == torch.float16
