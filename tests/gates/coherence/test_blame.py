"""Blame: the search on made-up faults, then a real fault in a real engine."""

from dataclasses import replace

import pytest

from braidcheck.gates.coherence import blame, describe_blame
from braidcheck.gates.coherence.blame import find_blame, find_suspects
from braidcheck.golden.resolve import resolve
from braidcheck.golden.subset import Subset, shortest
from braidcheck.models.engine import Engine
from braidcheck.models.ops import KERNELS

OPS = ("norm", "attention", "mlp", "head")


def made_up(faults, enough=1):
    """Fails where the kernels kept hold at least ``enough`` of the places at fault."""

    def fails(kept):
        return sum(place in kept.get(op, ()) for op, places in faults.items() for place in places) >= enough

    return fails


@pytest.mark.parametrize("layers", [1, 5, 28])
@pytest.mark.parametrize("op", OPS)
def test_one_op_in_some_layers(op, layers):
    for first in range(layers):
        for last in range(first, layers):
            found = find_suspects(made_up({op: range(first, last + 1)}), OPS, layers)
            assert found == ([op], list(range(first, last + 1)))


def test_two_ops_and_one_outside_of_layers():
    assert find_suspects(made_up({"norm": [3], "mlp": [5]}), OPS, 8) == (["norm", "mlp"], [3, 4, 5])
    assert find_suspects(made_up({"head": [None]}), OPS, 8) == (["head"], [])


def test_a_fault_that_takes_all_layers_or_two_ops_together():
    assert find_suspects(made_up({"mlp": range(8)}, enough=6), OPS, 8) == (["mlp"], list(range(8)))
    assert find_suspects(made_up({"mlp": range(8), "norm": range(8)}, enough=16), OPS, 8)[0] == ["norm", "mlp"]


def test_no_op_where_references_fail_too():
    assert find_suspects(lambda kept: True, OPS, 8) == ([], [])


def test_the_search_is_short():
    looks = []
    fails = made_up({"mlp": [17]})
    find_suspects(lambda kept: looks.append(kept) or fails(kept), OPS, 28)
    assert len(looks) <= 1 + len(OPS) + 2 + 2 * 5


@pytest.fixture
def nano(monkeypatch):
    monkeypatch.setattr(blame, "TOKENS", 100)
    monkeypatch.setattr(blame, "ANSWERS", 0)
    checkpoint, golden = resolve("nano", "corpus", None, "cpu")
    return Engine.load(checkpoint, "cpu"), golden


def distant(evidence):
    """The failing checks of a gate that needs fewer tokens than the real one."""
    return ["kl"] if sum(sum(row["kl"]) for row in evidence["documents"]) > 0.01 else []


def test_a_fault_in_one_layer_of_the_engine_is_found(nano):
    engine, golden = nano
    weights = engine.model.weights.layers[3]

    def faulty(x, weight, *rest):
        # The fault lies in the op, yet only one layer's numbers bring it out.
        return KERNELS.gate_up_silu(x, weight, *rest) * (-3 if weight is weights.gate_up else 1)

    found = find_blame(engine.with_ops(KERNELS.replace(gate_up_silu=faulty)), golden, ["kl"], distant)
    assert (found["ops"], found["layers"], found["repaired"]) == (["gate_up_silu"], [3, 3], True)
    assert "error" not in found
    assert found["kl_repaired"] < found["kl"] / 100
    assert "gate_up_silu in layer 3; with the reference there KL is" in describe_blame(found)


def test_a_fault_in_a_step_of_attention_is_its_ops_alone(nano, monkeypatch):
    engine, golden = nano
    text = shortest(golden, 0, 1, 3)
    (answer,) = text.continuations()
    monkeypatch.setattr(Subset, "continuations", lambda _: [replace(answer, prompt=40)])  # of 302 tokens, for seconds
    monkeypatch.setattr(blame, "shortest", lambda *_: text)
    faulty_at = engine.model.weights.layers[2].q_norm

    def faulty(q, k, v, q_norm, *rest, **options):
        out = KERNELS.decode_attention(q, k, v, q_norm, *rest, **options)
        return out.flip(1) * 8 if q_norm is faulty_at else out

    def strays(evidence):
        return ["decode"] if any(row["engine"] != row["prefill"] for row in evidence["continuations"]) else []

    found = find_blame(engine.with_ops(KERNELS.replace(decode_attention=faulty)), text, ["decode"], strays)
    assert (found["ops"], found["layers"], found["repaired"]) == (["decode_attention"], [2, 2], True)


def test_a_fault_in_the_weights_is_no_ops_fault(nano):
    engine, golden = nano
    engine.model.weights.layers[0].input_norm.mul_(3)
    found = find_blame(engine, golden, ["kl"], distant)
    assert found["ops"] == []
    assert describe_blame(found).startswith("no op")


def test_an_op_that_raises_is_at_fault(nano):
    engine, golden = nano
    broken = engine.with_ops(KERNELS.replace(lm_head=lambda *_, **__: 1 / 0))
    found = find_blame(broken, golden, ["kl"], distant)
    assert (found["ops"], found["layers"], found["kl"]) == (["lm_head"], [], None)
    assert found["error"] == "ZeroDivisionError: division by zero"


def test_nothing_is_blamed_where_nothing_fails(nano, monkeypatch):
    engine, golden = nano
    monkeypatch.setattr(blame, "shortest", lambda golden, *_: shortest(golden, 50, 0, 0))
    found = find_blame(engine, shortest(golden, 50, 0, 0), ["kl"], distant)
    assert found == {}
    assert describe_blame(found).startswith("unknown")


def test_broken_context_blames_no_op(nano, monkeypatch):
    engine, golden = nano

    def broken(*_):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(blame, "measure_coherence", broken)
    monkeypatch.setattr(blame.torch.cuda, "synchronize", broken)
    monkeypatch.setattr(engine.model, "device", blame.torch.device("cuda"))
    assert find_blame(engine, golden, ["kl"], distant) == {}
