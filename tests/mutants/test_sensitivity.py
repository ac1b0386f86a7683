"""The search for the smallest fault seen, on gates of known hearing, and small measurements by real ones."""

import random

import pytest

from braidcheck import kernels
from braidcheck.gates import layers
from braidcheck.golden.resolve import resolve
from braidcheck.models.qwen3.architecture import Qwen3Config
from braidcheck.mutants import sensitivity
from braidcheck.mutants.injection import SIZES
from braidcheck.mutants.sensitivity import TRIALS, smallest

OPS = kernels.find()


@pytest.mark.parametrize("threshold", [SIZES[0], 2**-9, 0.011, SIZES[-1]])
def test_a_gate_of_known_threshold_gives_it_back(threshold):
    found = smallest(lambda size, seed: size >= threshold > 0, SIZES)
    assert found["smallest"] == min(size for size in SIZES if size >= threshold)
    assert found["counts"][-1][1:] == [TRIALS, TRIALS]


def test_a_deaf_gate_sees_nothing():
    found = smallest(lambda size, seed: False, SIZES)
    assert (found["smallest"], found["least"], found["largest"]) == (None, SIZES[0], SIZES[-1])


def test_gate_with_false_alarms_is_refused():
    with pytest.raises(ValueError, match="without any fault"):
        smallest(lambda size, seed: True, SIZES)


@pytest.mark.parametrize("first", [True, False])
def test_one_lucky_or_unlucky_seed_decides_nothing(first):
    """Seed 0 sees all faults or the largest only; all others see them from 2^-6 on."""

    def seen(size, seed):
        return (size > 0 and first) or size == SIZES[-1] if seed == 0 else size >= 2**-6

    assert smallest(seen, SIZES)["smallest"] == 2**-6


def test_nineteen_of_twenty_are_enough_and_eighteen_are_not():
    def hearing(missed):
        return lambda size, seed: size >= 2**-3 or (size >= 2**-5 and seed >= missed)

    assert smallest(hearing(1), SIZES)["smallest"] == 2**-5
    assert smallest(hearing(2), SIZES)["smallest"] == 2**-3


def test_bisection_asks_seldom():
    asked = []
    smallest(lambda size, seed: asked.append(size) or size >= 2**-9, SIZES)
    assert len(asked) < 6 + TRIALS + 5


def test_a_noisy_gate_is_placed_where_it_sees_most():
    dice = random.Random(0)
    found = smallest(lambda size, seed: size > 0 and dice.random() < min(1.0, size * 64), SIZES)
    assert 2**-7 <= found["smallest"] <= 2**-5


@pytest.fixture
def few_trials(monkeypatch):
    """How many there are is tested above, on gates that cost nothing."""
    monkeypatch.setattr(sensitivity, "TRIALS", 4)


@pytest.mark.usefixtures("few_trials")
def test_every_kind_of_fault_of_an_op_is_measured_on_its_cases():
    op = OPS["qk_norm_rope"]
    rows = list(sensitivity.of_accuracy(op, "cpu", lambda seen: any(out["error_ratio"] > 1 for out in seen["outputs"])))
    assert {row["fault"] for row in rows} == {"every element", "one element", "one position", "all angles"}
    one = {row["on"].partition(",")[0]: row["smallest"] for row in rows if row["fault"] == "one element"}
    # A half unit in the last place is a correct rounding; a few of them are not.
    assert 2**-9 <= one["bfloat16"] <= 2**-5


@pytest.mark.usefixtures("few_trials")
def test_the_model_is_measured_with_the_fault_in_it():
    checkpoint, golden = resolve()
    texts = []

    def far(evidence):
        texts.append(evidence)
        return max(evidence["hidden"]["engine"]) > 0.1

    row = next(sensitivity.of_coherence(OPS["gate_up_silu"], checkpoint, golden, "cpu", far))
    assert (row["fault"], row["op"]) == ("every element", "gate_up_silu")
    assert 2**-7 < row["smallest"] < 4
    assert sum(document["tokens"] for document in texts[0]["documents"]) >= 1000


TINY = Qwen3Config(
    hidden_size=48, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, head_dim=16,
    intermediate_size=40, vocab_size=70, max_position_embeddings=64, rope_theta=1e6, rms_norm_eps=1e-6,
    tie_word_embeddings=True,
)  # fmt: skip


@pytest.mark.usefixtures("few_trials")
def test_a_layer_of_a_synthetic_model_is_measured():
    def fails(readings):
        return any(verdict.status == "fail" for verdict in layers.evaluate(readings))

    row = next(sensitivity.of_layers(OPS["gate_up_silu"], "cpu", fails, config=TINY, tokens=24))
    assert (row["gate"], row["fault"], row["on"]) == ("layers", "every element", "layer 1")
    assert 2**-9 <= row["smallest"] <= 2**-3
    assert list(sensitivity.of_layers(OPS["lm_head"], "cpu", fails)) == []
