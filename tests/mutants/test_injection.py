"""Injected faults change what they say, by as much as they say, and nothing else."""

import math

import pytest
import torch

from braidcheck import kernels
from braidcheck.mutants import injection
from braidcheck.mutants.injection import FAULTS, injected, written
from braidcheck.mutants.sensitivity import CaseRecord
from braidcheck.numerics.calls import copies, run
from braidcheck.numerics.rounding import ROUNDOFF

OPS = kernels.find()
BY_NAME = {fault.name: fault for fault in FAULTS}


def case_of(op, **axes):
    return next(c for c in OPS[op].cases if 0 not in c.axes.values() and axes.items() <= dict(c.axes).items())


def both(op, fault, size, kwargs, seed=0):
    """What the reference gives without and with the fault."""
    op = OPS[op]
    faulty = injected(op, op.reference, BY_NAME[fault], size, seed)
    return run(op, op.reference, copies(kwargs)), run(op, faulty, copies(kwargs))


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("fault", BY_NAME)
def test_no_fault_of_size_zero_and_some_of_size_one_changes_a_bit(name, fault):
    # Positions other than 0, at which nothing turns.
    case = next(case for case in OPS[name].cases if case.profile == "qwen" and not case.large)
    kwargs = OPS[name].inputs(case, "cpu")
    if not BY_NAME[fault].needs(kwargs) or set(OPS[name].contract.outputs.values()) == {"int64"}:
        return  # of a token, which is no number, none of them is asked
    plain, faulty = both(name, fault, 0.0, kwargs)
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(plain, faulty, strict=True))
    for seed in range(4):
        plain, faulty = both(name, fault, 1.0, kwargs, seed)
        assert any(not torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(plain, faulty, strict=True))


@pytest.mark.numeric
def test_noise_is_as_large_as_it_says():
    kwargs = OPS["linear_residual"].inputs(case_of("linear_residual"), "cpu")
    kwargs |= {name: kwargs[name].float().expand(64, -1) for name in ("x", "residual")} | {
        "weight": kwargs["weight"].float()
    }
    (plain,), (faulty,) = both("linear_residual", "every element", 0.01, kwargs)
    relative = (faulty - plain) / plain
    # Six standard deviations of a standard deviation: one run in 1e9, were the seed not fixed.
    assert relative.std() == pytest.approx(0.01, rel=6 / math.sqrt(2 * relative.numel()))
    assert (faulty != plain).float().mean() > 0.99


@pytest.mark.numeric
def test_one_element_of_all_outputs_changes_by_the_size():
    kwargs = OPS["qkv_rope"].inputs(case_of("qkv_rope"), "cpu")
    places = set()
    for seed in range(30):
        plain, faulty = both("qkv_rope", "one element", 0.5, kwargs, seed)
        changed = [
            (i, (a != b).nonzero()) for i, (a, b) in enumerate(zip(plain, faulty, strict=True)) if (a != b).any()
        ]
        ((output, at),) = changed
        assert len(at) == 1
        place = tuple(at[0].tolist())
        ratio = float(faulty[output][place].double() / plain[output][place].double())
        assert ratio == pytest.approx(1.5, rel=ROUNDOFF[plain[output].dtype])  # the product is rounded
        places.add(output)
    assert places == {0, 1, 2}


def test_one_column_of_the_weight_changes():
    kwargs = OPS["gate_up_silu"].inputs(case_of("gate_up_silu"), "cpu")
    weight = injection.weight_column(kwargs, 1.0, torch.Generator().manual_seed(3))["weight"]
    columns = (weight != kwargs["weight"]).any(dim=0).nonzero()[:, 0]
    assert len(columns) == 1
    assert torch.equal(weight[:, columns], 2 * kwargs["weight"][:, columns])


@pytest.mark.parametrize("size", [1, 4])
def test_one_token_moves(size):
    kwargs = {"positions": torch.tensor([5, 98, 99]), "cos_sin": torch.zeros(100, 4)}
    for seed in range(20):
        moved = injection.one_position(kwargs, size, torch.Generator().manual_seed(seed))["positions"]
        steps = moved - kwargs["positions"]
        assert steps.abs().sum() == size
        assert moved.max() < 100


def test_a_token_stays_in_the_cache_that_its_position_is_a_slot_of():
    kwargs = {"positions": torch.tensor([5, 7]), "cos_sin": torch.zeros(100, 4), "k_cache": torch.zeros(2, 8, 1, 4)}
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        assert injection.one_position(kwargs, 2, generator)["positions"].tolist() in ([7, 7], [5, 5])


@pytest.mark.numeric
def test_angles_grow_in_proportion():
    from braidcheck.numerics.rope import rope_table

    table = rope_table(200, 32)
    turned = injection.all_angles({"cos_sin": table}, 1.0, torch.Generator())["cos_sin"]
    # Twice the angle is twice the position p. In units of roundoff: an angle of at most 1, read off a cosine and a sine
    # that err by up to 1.5 each, errs by 3, which p multiplies; the table's float32 angles at p and 2p err by p and 2p;
    # and each cosine and sine of either side by up to 1.5 again, with room for second orders.
    allowed = (6 * torch.arange(100) + 10)[:, None] * ROUNDOFF[torch.float32]
    assert ((turned[:100] - table[:200:2]).abs() <= allowed).all()


def test_only_what_a_call_wrote_into_a_cache_may_change():
    op, kwargs = OPS["cache_write"], OPS["cache_write"].inputs(case_of("cache_write"), "cpu")
    kwargs |= {name: torch.zeros_like(kwargs[name]) for name in ("k_cache", "v_cache")}  # as if filled before
    after = run(op, op.reference, copies(kwargs))
    masks = written(op, kwargs, after)
    assert [int(mask.sum()) for mask in masks] == [kwargs["k"].numel(), kwargs["v"].numel()]


def test_the_accuracy_gate_sees_a_fault_as_the_suite_would():
    from braidcheck.gates import accuracy

    look = CaseRecord.at(OPS["rms_norm"], case_of("rms_norm"), "cpu")
    assert accuracy.evaluate(look.evidence(BY_NAME["every element"], 0.0, 0)).status == "pass"
    assert accuracy.evaluate(look.evidence(BY_NAME["every element"], 0.01, 0)).status == "fail"
