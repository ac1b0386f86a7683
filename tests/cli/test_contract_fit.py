"""Which contract a function keeps: the op's own, one of conventions that others have, or none."""

from dataclasses import replace

import pytest
import torch

from braidcheck import kernels
from braidcheck.cli.contract_fit import fit
from braidcheck.errors import UserError
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.numerics import contract_variants, conventions
from braidcheck.op import Case

NORM = kernels.find()["rms_norm"]


pytestmark = pytest.mark.usefixtures("answers")


def normed(x, eps):
    return x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps)


def strict(x, weight, eps):
    return normed(x, eps) * weight.float()


def in_input_dtype(x, weight, eps):
    return strict(x, weight, eps).to(x.dtype)


def as_hf(x, weight, eps):
    return weight * normed(x, eps).to(x.dtype)


def as_gemma(x, weight, eps):
    return (normed(x, eps) * (1 + weight.float())).to(x.dtype)


def as_gemma_in_float32(x, weight, eps):
    return normed(x, eps) * (1 + weight.float())


def adds(x, residual):
    return x if residual is None else x + residual


def of_the_rounded_sum(x, weight, eps, residual=None):
    y = strict(adds(x, residual), weight, eps).to(x.dtype)
    return y if residual is None else (y, adds(x, residual))


def in_place(x, weight, eps):
    return x.copy_(in_input_dtype(x, weight, eps))


def refuses_float16(x, weight, eps):
    assert x.dtype != torch.float16
    return strict(x, weight, eps)


def without_eps(x, weight, eps):
    return in_input_dtype(x, weight, 0.0) * 1.01


def raises(x, weight, eps):
    raise RuntimeError("no")


def fitting(function, op=NORM):
    return fit(op, function, "cpu", lambda case: not case.needs)


@pytest.mark.parametrize("function", [strict, refuses_float16, without_eps, raises])
def test_own_contract_is_kept_or_none(function):
    found = fitting(function)
    assert found.op is NORM
    assert not found.said


def test_an_op_without_conventions_asks_nothing():
    def never(*args):
        raise AssertionError("called")

    op = kernels.find()["cache_write"]
    assert not conventions.about(op)
    assert fit(op, pytest.fail, "cpu", never).op is op


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (in_input_dtype, "output=input dtype"),
        (as_hf, "output=input dtype, rounding=before weight"),
        (as_gemma, "output=input dtype, weight=1 + weight"),
        (as_gemma_in_float32, "weight=1 + weight"),
    ],
)
def test_conventions_are_named_the_fewest_that_do(function, names):
    found = fitting(function)
    assert found.said.startswith(f"held to rms_norm({names}); fails the strict contract: without ")
    assert found.op.cases == NORM.cases


@pytest.mark.parametrize(
    ("function", "other_op"), [(in_input_dtype, False), (as_hf, False), (as_gemma, True), (strict, False)]
)
def test_another_weight_is_another_op(function, other_op):
    assert fitting(function).other_op is other_op


def test_a_residual_that_is_rounded_before_the_norm_is_seen_by_its_bits():
    found = fit(NORM, of_the_rounded_sum, "cpu", lambda case: case.needs == ("residual",))
    assert "(output=input dtype, sum=rounded before norm); fails" in found.said
    assert "without sum=rounded before norm by " in found.said


def test_a_convention_that_bits_tell_alone_is_said_to_be_within_the_bound():
    def rounds_twice(x, weight, eps, residual=None):
        y = as_hf(adds(x, residual), weight, eps)
        return y if residual is None else (y, adds(x, residual))

    found = fit(NORM, rounds_twice, "cpu", lambda case: "out_dtype" not in case.needs)
    assert (
        "without sum=rounded before norm stays within the bound on small cases, but y has the bits of the norm of the "
        "rounded sum (as HF's decoder layers add)"
    ) in found.said


def test_a_call_that_writes_its_inputs_is_right_by_a_declared_contract_alone():
    found = fitting(in_place)
    assert found.said.startswith("held to rms_norm(output=input dtype); fails the strict contract: ")
    assert not found.op.contract.overwrites  # so the checks of its calls tell that x is changed


ROTATION = kernels.find()["qk_norm_rope"]


def rotates_as_hf(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps):
    cos, sin = (torch.cat([part, part], -1).to(q.dtype)[:, None] for part in cos_sin[positions].chunk(2, -1))

    def one(x, weight):
        x = as_hf(x, weight, eps)
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    return one(q, q_norm_weight), one(k, k_norm_weight)


def test_a_rotation_in_the_heads_own_dtype_is_named():
    found = fit(ROTATION, rotates_as_hf, "cpu", lambda case: not case.needs)
    assert "rope=input dtype" in found.said
    assert not found.other_op


def projects_and_rotates_as_hf(x, qkv_weight, cos_sin, positions, num_heads, num_kv_heads, head_dim):
    qkv = torch.nn.functional.linear(x, qkv_weight).unflatten(1, (-1, head_dim))
    cos, sin = (torch.cat([part, part], -1).to(x.dtype)[:, None] for part in cos_sin[positions].chunk(2, -1))
    first, second = qkv.chunk(2, -1)
    q, k, _ = (qkv * cos + torch.cat([-second, first], -1) * sin).split([num_heads, num_kv_heads, num_kv_heads], 1)
    return q, k, qkv[:, num_heads + num_kv_heads :]


def test_a_rounded_table_is_told_by_bits_where_small_cases_hide_it():
    op = kernels.find()["qkv_rope"]
    found = fit(op, projects_and_rotates_as_hf, "cpu", lambda case: not case.needs)
    assert found.said.startswith("held to qkv_rope(x=weight dtype, rope=input dtype); fails the strict contract: ")
    assert "without rope=input dtype stays within the bound on small cases, but has the same bits" in found.said
    many = {"T": 1024, "H": 64, "Hq": 1, "Hkv": 1, "D": 64, "P": 4096}  # all of one sign: casts lean in all rows
    case = Case("qkv_rope", many, profile="one_sign")
    assert not accuracy.violation(measure_op(found.op, case, "cpu", projects_and_rotates_as_hf))
    strict = contract_variants.under(op, conventions.named(op, ["x=weight"]))
    assert "q is biased" in accuracy.violation(measure_op(strict, case, "cpu", projects_and_rotates_as_hf))


def test_a_table_of_which_only_the_first_row_is_used_tells_nothing():
    op = kernels.find()["decode_attention"]  # its case with most rows has one slot
    assert fit(op, op.reference, "cpu").op is op


def test_x_in_the_dtype_of_the_weights_is_named_where_a_product_refuses_another():
    def projects(x, qkv_weight, *others, **options):
        if x.dtype != qkv_weight.dtype:
            raise RuntimeError("mat1 and mat2 must have the same dtype")
        return op.reference(x, qkv_weight, *others, **options)

    op = kernels.find()["qkv_rope"]
    found = fit(op, projects, "cpu")
    assert found.said.startswith("held to qkv_rope(x=weight dtype); fails the strict contract: without x=weight")


def test_a_function_that_is_asked_no_plain_case_is_held_to_the_others():
    def projects(x, qkv_weight, *others, **options):
        if x.dtype != qkv_weight.dtype:
            raise RuntimeError("mat1 and mat2 must have the same dtype")
        return op.reference(x, qkv_weight, *others, **options)

    op = kernels.find()["qkv_rope"]
    assert not any(case.profile in ("unit", "qwen", "tail") for case in op.cases if not case.needs)
    found = fit(op, projects, "cpu", lambda case: not case.needs)
    assert found.said.startswith("held to qkv_rope(x=weight dtype); fails the strict contract: without x=weight")


def of_heads_dtype(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps):
    assert cos_sin.dtype == q.dtype, "one dtype"
    return ROTATION.reference(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps)


def test_the_inputs_under_which_most_cases_are_served_are_found():
    found = fit(ROTATION, of_heads_dtype, "cpu", lambda case: not case.needs)
    assert found.said.startswith(
        "held to qk_norm_rope(cos_sin=heads dtype); fails the strict contract: without cos_sin=heads dtype refuses "
    )
    assert found.said.endswith(" small cases: AssertionError: one dtype (as fla takes its table)")
    case = next(case for case in found.op.cases if case.dtype == "float16" and not case.large)
    assert found.op.inputs(case, "cpu")["cos_sin"].dtype == torch.float16


def test_a_table_of_another_dtype_is_given_to_nobody_who_takes_the_op_s_own():
    def rounds_its_table(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps):
        return ROTATION.reference(q, k, q_norm_weight, k_norm_weight, cos_sin.to(q.dtype), positions, eps)

    assert "cos_sin" not in fit(ROTATION, rounds_its_table, "cpu", lambda case: not case.needs).said


def attends_with_narrow_scores(q, k_cache, v_cache, lengths, scale):
    rows = []
    for row, length in enumerate(lengths.tolist()):
        k, v = (cache[row, :length].repeat_interleave(q.shape[1] // cache.shape[2], 1) for cache in (k_cache, v_cache))
        scores = torch.einsum("hd,shd->hs", q[row], k) * scale
        p = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)
        rows.append(torch.einsum("hs,shd->hd", p, v))
    return torch.stack(rows) if rows else q.clone()


def test_scores_in_the_dtype_of_the_inputs_are_named():
    found = fit(kernels.find()["attention_decode"], attends_with_narrow_scores, "cpu")
    assert "attention_decode(scores=input dtype)" in found.said


def test_each_convention_says_what_breaks_without_it_and_who_has_it():
    said = fitting(as_hf).said.split(": ", 1)[1].split("; ")
    assert said[0] == (
        "without output=input dtype y is bfloat16, must be float32 (as Liger, vLLM, SGLang and fla return it)"
    )
    assert said[1].startswith("without rounding=before weight by ")
    assert 1 < float(said[1].split(" by ")[1].split("x")[0]) < 3  # two roundings in place of one
    assert said[1].endswith("(as HF defines Llama and Qwen3)")


@pytest.mark.parametrize(
    "op", [op for op in kernels.find().values() if op.name in conventions.NORMS], ids=lambda op: op.name
)
def test_every_norm_has_every_convention(op):
    choices = conventions.about(op)
    found = {conventions.name(op, chosen): variant for chosen, variant in contract_variants.variants(op)}
    assert found[op.name] is op
    assert {f"{op.name}(rounding=before weight)", f"{op.name}(weight=1 + weight)"} <= set(found)
    assert len(found) == 2 ** sum(not one.waives and one.casts != ("sum",) for one in choices)


@pytest.mark.parametrize("name", conventions.NORMS)
def test_a_variant_is_another_answer_within_its_own_bound_alone(name):
    op = kernels.find()[name]
    plus_one = contract_variants.under(op, tuple(one for one in conventions.CONVENTIONS if one.weight.offset))
    assert fitting(op.reference, op).op is op
    found = fit(op, plus_one.reference, "cpu")
    assert found.said.startswith(f"held to {name}(weight=1 + weight); fails the strict contract: ")


def test_conventions_are_found_by_the_beginning_of_their_value():
    named = conventions.named(NORM, ["rounding=before-weight", "output=input"])
    assert [one.name for one in named] == ["output=input dtype", "rounding=before weight"]
    assert conventions.named(NORM, []) == ()


@pytest.mark.parametrize("word", ["output=", "output=nope", "nope=input", "input dtype"])
def test_a_convention_that_the_op_has_not_is_refused_with_those_it_has(word):
    with pytest.raises(UserError, match=r"has no contract with .*; one of output=input dtype, rounding"):
        conventions.named(NORM, [word])
    with pytest.raises(UserError, match="it has none but its own"):
        conventions.named(replace(NORM, call=strict), [word])
