"""RoPE as other libraries rotate: neighbours in place of halves, and a part of each head."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.cli.contract_fit import fit
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.gates.calls.observe import same_bits
from braidcheck.numerics.calls import copies, run
from braidcheck.numerics.contract_variants import under
from braidcheck.numerics.conventions import HEADS, named

OP = kernels.find()["qk_norm_rope"]


def rotating(is_interleaved=False, part=1.0, swapped=False):
    """qk_norm_rope in plain PyTorch, which takes the rotated part's table."""

    def one(x, weight, cos, sin, eps):
        x = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps) * weight.float()
        width = 2 * cos.shape[-1]
        turning, rest = (x[..., x.shape[-1] - width :], x[..., : x.shape[-1] - width]) if swapped else (
            x[..., :width], x[..., width:]
        )  # fmt: skip
        if is_interleaved:
            first, second = turning[..., ::2], turning[..., 1::2]
            turned = torch.stack([first * cos - second * sin, second * cos + first * sin], -1).flatten(-2)
        else:
            first, second = turning.chunk(2, -1)
            turned = torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
        return torch.cat([rest, turned] if swapped else [turned, rest], -1)

    def qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps):
        cos, sin = cos_sin[positions.long()][:, None].chunk(2, -1)
        pairs = int(cos.shape[-1] * part)
        cos, sin = cos[..., :pairs], sin[..., :pairs]
        return tuple(
            one(x, weight, cos, sin, eps).to(x.dtype) for x, weight in ((q, q_norm_weight), (k, k_norm_weight))
        )

    return qk_norm_rope


def violations(words, function):
    op = under(OP, named(OP, words))
    cases = [case for case in op.cases if not case.large and 0 not in case.axes.values() and not case.needs]
    return [said for case in cases if (said := accuracy.violation(measure_op(op, case, "cpu", function)))]


@pytest.mark.parametrize(
    ("words", "function"),
    [
        (["pairs=interleaved"], rotating(is_interleaved=True)),
        (["rotary=0.5"], rotating()),
        (["rotary=0.25", "pairs=interleaved"], rotating(is_interleaved=True)),
        (["rotary=1"], rotating()),
    ],
)
def test_a_right_rotation_keeps_its_contract(words, function):
    assert not violations(words, function)


@pytest.mark.parametrize(
    ("words", "function"),
    [
        (["pairs=interleaved"], rotating()),
        ([], rotating(is_interleaved=True)),
        (["rotary=0.5"], rotating(part=0.5)),
        (["rotary=0.5"], rotating(swapped=True)),
        (["rotary=0.5", "pairs=interleaved"], rotating()),
    ],
)
def test_a_wrong_rotation_is_refused(words, function):
    assert violations(words, function)


def test_interleaved_pairs_are_named_and_must_be_declared():
    found = fit(OP, rotating(is_interleaved=True), "cpu", lambda case: not case.needs)
    assert found.other_op
    assert found.said.startswith("held to qk_norm_rope(pairs=interleaved); fails the strict contract: ")
    assert found.said.endswith("--contract 'pairs=interleaved'")


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("word", ["pairs=interleaved", "rotary=0.5"])
def test_every_op_with_heads_has_it(name, word):
    op = kernels.find()[name]
    variant = under(op, named(op, [word]))
    case = next(case for case in variant.cases if case.profile == "qwen" and not case.large)
    assert not accuracy.violation(measure_op(variant, case, "cpu", variant.reference))
    assert accuracy.violation(measure_op(variant, case, "cpu", lambda **given: op.reference(**_whole(op, case, given))))


@pytest.mark.parametrize("name", HEADS)
def test_every_op_with_heads_rotates_in_16_bits_where_the_convention_says_so(name):
    op = kernels.find()[name]
    case = next(case for case in op.cases if case.profile == "qwen" and case.dtype == "bfloat16" and not case.large)
    inputs = op.inputs(case, "cpu")
    rounding = under(op, named(op, ["rope=input dtype"]))
    rounded, exact = (run(op, one.reference, copies(inputs)) for one in (rounding, op))
    assert not all(map(same_bits, rounded, exact))


def _whole(op, case, given):
    """The arguments with the op's own table."""
    return given | {"cos_sin": op.inputs(case, "cpu")["cos_sin"]}


def rotating_in_input_dtype(is_rounded=False):
    """As HF norms and rotates; ``is_rounded``: what a row is multiplied by is rounded to 16 bits, which is wrong."""

    def qk_norm_rope(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps):
        cos, sin = (torch.cat([part, part], -1).to(q.dtype)[:, None] for part in cos_sin[positions].chunk(2, -1))

        def one(x, weight):
            factor = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps)
            factor = factor.to(x.dtype).float() if is_rounded else factor
            x = weight * (x.float() * factor).to(x.dtype)
            first, second = x.chunk(2, -1)
            return x * cos + torch.cat([-second, first], -1) * sin

        return one(q, q_norm_weight), one(k, k_norm_weight)

    return qk_norm_rope


HALFWAY = [case for case in OP.cases if case.profile == "halfway"]


@pytest.mark.parametrize("words", [["rope=input dtype"], ["rope=input dtype", "rounding=before weight"]])
@pytest.mark.parametrize("case", HALFWAY, ids=lambda case: case.dtype)
def test_a_norm_s_factor_of_16_bits_is_seen_where_rope_rounds_too(words, case):
    op = under(OP, named(OP, words))
    assert not accuracy.violation(measure_op(op, case, "cpu", rotating_in_input_dtype()))
    said = accuracy.violation(measure_op(op, case, "cpu", rotating_in_input_dtype(is_rounded=True)))
    assert "is biased to one side" in said


@pytest.mark.parametrize("case", HALFWAY, ids=lambda case: case.dtype)
def test_most_rows_lie_where_their_factor_is_rounded_down_far(case):
    for name in ("q", "k"):
        x = OP.inputs(case, "cpu")[name]
        factor = x.double().square().mean(-1).rsqrt()
        steps = (factor - factor.to(x.dtype).double()) / torch.finfo(x.dtype).eps
        assert ((steps > 0.2) & (steps <= 0.5)).double().mean() > 0.9
        assert 0.3 < steps.median() < 0.45
