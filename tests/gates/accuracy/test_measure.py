"""Evidence and accuracy gate on candidates in plain PyTorch: right ones pass, each classic fault fails."""

from dataclasses import replace

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import answers_kept, has_finite_poison, measure_op
from braidcheck.numerics import rope
from braidcheck.numerics.calls import input_bytes
from braidcheck.result import Status

OPS = kernels.find()


def each(op, function):
    """The verdict of ``function`` on each case of ``op`` that runs everywhere, one after the other."""
    for case in OPS[op].cases:
        if not case.large:
            yield accuracy.evaluate(measure_op(OPS[op], case, "cpu", function))


def evaluated(op, function):
    """All of them, by status."""
    verdicts = list(each(op, function))
    return {status: [v for v in verdicts if v.status == status] for status in Status}


@pytest.mark.parametrize("op", OPS)
def test_the_plain_reference_is_accepted(op):
    found = evaluated(op, OPS[op].reference)
    assert not found[Status.FAIL], [v.message for v in found[Status.FAIL]]
    assert not found[Status.ERROR]


def hf_norm(x, weight, eps, dtype):
    """HF's RMSNorm of activations in ``dtype``: rounded before the weight, and after it."""
    normed = (x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps)).to(dtype)
    return weight.to(dtype) * normed


def hf_lm_head(x, norm_weight, weight, eps, argmax=False):
    logits = (hf_norm(x, norm_weight, eps, weight.dtype).float()) @ weight.float().T
    return logits.argmax(-1) if argmax else logits


def hf_rms_norm_qkv(x, norm_weight, weight, eps, heads, kv, dim, qkv_bias=None, out_dtype=None):
    normed = hf_norm(x, norm_weight, eps, weight.dtype)
    qkv = normed.float() @ weight.float().T + (0 if qkv_bias is None else qkv_bias.float())
    parts = qkv.to(out_dtype or weight.dtype).unflatten(1, (-1, dim))
    return parts.split([heads, kv, kv], dim=1)


def hf_qkv_rope(
    x, weight, cos_sin, positions, heads, kv, dim, qkv_bias=None, q_norm_weight=None, k_norm_weight=None, eps=1e-6
):
    qkv = x.to(weight.dtype).float() @ weight.float().T + (0 if qkv_bias is None else qkv_bias.float())
    q, k, v = qkv.to(weight.dtype).unflatten(1, (-1, dim)).split([heads, kv, kv], dim=1)
    if q_norm_weight is not None:
        q, k = rope.head_norm(q.float(), q_norm_weight, eps), rope.head_norm(k.float(), k_norm_weight, eps)
    return (*(rope.rotate(part.float(), cos_sin, positions).to(weight.dtype) for part in (q, k)), v)


@pytest.mark.parametrize(
    ("op", "function"), [("lm_head", hf_lm_head), ("rms_norm_qkv", hf_rms_norm_qkv), ("qkv_rope", hf_qkv_rope)]
)
def test_roundings_as_in_hf_are_accepted(op, function):
    """More of them than the kernels make; the model that results is HF's own, so the gate must not refuse it."""
    found = evaluated(op, function)
    assert not found[Status.FAIL], [v.message for v in found[Status.FAIL]]
    assert len(found[Status.PASS]) > 5


def rms_norm_rounding_before_the_weight(x, weight, eps, residual=None, out=None):
    total = x.float() if residual is None else x.float() + residual.float()
    normed = (total * torch.rsqrt(total.square().mean(-1, keepdim=True) + eps)).to(torch.bfloat16)
    y = normed.float() * weight.float()
    return y if residual is None else (y, total.to(x.dtype))


def rms_norm_with_eps_1e5(x, weight, eps, residual=None, out=None):
    return OPS["rms_norm"].reference(x, weight, 1e-5, residual)


def qkv_rope_turned_first(
    x, weight, cos_sin, positions, heads, kv, dim, qkv_bias=None, q_norm_weight=None, k_norm_weight=None, eps=1e-6
):
    q, k, v = OPS["qkv_rope"].reference(x, weight.float(), cos_sin, positions, heads, kv, dim, qkv_bias)
    if q_norm_weight is not None:
        q, k = rope.head_norm(q, q_norm_weight, eps), rope.head_norm(k, k_norm_weight, eps)
    return tuple(part.to(weight.dtype) for part in (q, k, v))


def qkv_rope_with_theta_1e4(x, weight, cos_sin, positions, *tolerance, **options):
    table = rope.rope_table(*cos_sin.shape, theta=1e4)
    return OPS["qkv_rope"].reference(x, weight, table, positions, *tolerance, **options)


def linear_residual_accumulating_in_bf16(x, weight, residual):
    total = torch.zeros(residual.shape, dtype=torch.bfloat16)
    for k in range(0, x.shape[1], 32):
        total += (x[:, k : k + 32].float() @ weight[:, k : k + 32].float().T).to(torch.bfloat16)
    return (residual.float() + total.float()).to(residual.dtype)


def attention_prefill_seeing_one_ahead(q, k, v, scale, q_start=0, cu_seqlens=None):
    return OPS["attention_prefill"].reference(q, k, v, scale, q_start + 1, cu_seqlens)


def attention_prefill_with_heads_modulo(q, k, v, scale, q_start=0, cu_seqlens=None):
    order = [h % k.shape[1] for h in range(q.shape[1])]
    return OPS["attention_prefill"].reference(q, k[:, order], v[:, order], scale, q_start, cu_seqlens)


def attention_decode_without_the_maximum(q, k_cache, v_cache, lengths, scale):
    out = torch.zeros_like(q)
    group = q.shape[1] // k_cache.shape[2]
    for b, n in enumerate(lengths.tolist()):
        k, v = (c[b, :n].repeat_interleave(group, 1).float() for c in (k_cache, v_cache))
        p = torch.exp(torch.einsum("hd,shd->hs", q[b].float(), k) * scale)
        out[b] = torch.einsum("hs,shd->hd", p / p.sum(-1, keepdim=True), v).to(q.dtype)
    return out


def lm_head_without_norm(x, norm_weight, weight, eps):
    return x.float() @ weight.float().T


def gate_up_silu_up_first(x, weight, norm_weight=None, eps=1e-6):
    return OPS["gate_up_silu"].reference(x, weight.roll(len(weight) // 2, 0), norm_weight, eps)


def cache_write_one_late(k, v, k_cache, v_cache, rows, slots):
    OPS["cache_write"].reference(k, v, k_cache, v_cache, rows, (slots + 1) % k_cache.shape[1])


def qk_norm_rope_rounding_before_the_weight(q, k, q_norm_weight, k_norm_weight, cos_sin, positions, eps, k_scale=1.0):
    ones = torch.ones_like(q_norm_weight)
    q, k = (rope.head_norm(x.float(), ones, eps).to(q.dtype).float() for x in (q, k))
    q, k = (rope.rotate(x * w.float(), cos_sin, positions) for x, w in ((q, q_norm_weight), (k, k_norm_weight)))
    return q.to(q_norm_weight.dtype), (k * k_scale).to(k_norm_weight.dtype)


def rms_norm_qkv_with_eps_1e5(x, norm_weight, qkv_weight, eps, *heads, qkv_bias=None, out_dtype=None):
    return OPS["rms_norm_qkv"].reference(x, norm_weight, qkv_weight, 1e-5, *heads, qkv_bias, out_dtype)


def fused_attention_with_head_norms_swapped(hidden, norm, qkv, q_norm, k_norm, *tolerance, cache="post_rope"):
    return OPS["fused_attention"].reference(hidden, norm, qkv, k_norm, q_norm, *tolerance, cache)


FAULTS = [fault for name, fault in sorted(globals().items()) if any(name.startswith(f"{op}_") for op in OPS)]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_refused(fault):
    op = max((name for name in OPS if fault.__name__.startswith(name)), key=len)
    assert any(verdict.status == Status.FAIL for verdict in each(op, fault)), f"{fault.__name__} passes every case"


def test_an_element_that_is_not_written_fails():
    def lazy(x, weight, eps, residual=None, out=None):
        y = torch.empty(x.shape)
        y[:-1] = OPS["rms_norm"].reference(x, weight, eps)[:-1] if residual is None else 0
        return y

    case = next(case for case in OPS["rms_norm"].cases if case["T"] > 1)
    verdict = accuracy.evaluate(measure_op(OPS["rms_norm"], case, "cpu", lazy))
    assert verdict.status == Status.FAIL
    assert "unwritten memory" in verdict.message  # this case's is finite


def test_cases_with_unsupported_argument_are_skipped():
    found = evaluated("rms_norm", lambda x, weight, eps: OPS["rms_norm"].reference(x, weight, eps))
    assert not found[Status.FAIL]
    messages = {v.message for v in found[Status.SKIPPED]}
    assert messages == {"does not take residual", "does not take out_dtype", "does not take residual or out_dtype"}


def test_other_names_and_keyword_only_arguments_are_called_alike():
    reference = OPS["linear_residual"].reference
    for alike in (lambda a, b, c: reference(a, b, c), lambda *, x, weight, residual: reference(x, weight, residual)):
        assert not evaluated("linear_residual", alike)[Status.FAIL]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, weight, eps, **_: 1 / 0, "raised ZeroDivisionError"),
        (lambda x, weight, eps, **_: x.half(), "must be float32"),
        (lambda x, weight, eps, **_: x[:, :1].float(), "must have"),
        (lambda x, weight, eps, **_: None, "not a tensor"),
        (lambda x, weight, eps, **_: (x.float(), x, x), "returned 3 outputs"),
    ],
)
def test_invalid_result_fails_with_message(function, expected):
    verdict = accuracy.evaluate(measure_op(OPS["rms_norm"], OPS["rms_norm"].cases[0], "cpu", function))
    assert verdict.status == Status.FAIL
    assert expected in verdict.message


LARGE = [(op, case) for op in kernels.find().values() for case in op.cases if case.large]


@pytest.mark.parametrize(("op", "case"), LARGE, ids=lambda value: getattr(value, "id", ""))
def test_the_bytes_of_every_large_case_are_known(op, case):
    """A worker reserves GPU memory by them before the item runs; an error there would end the worker."""
    assert 0 < input_bytes(op, case) < 8 << 30


@pytest.mark.parametrize("op", OPS)
def test_what_may_not_be_read_is_nan_in_some_cases_and_finite_in_others(op):
    cases = [case for case in OPS[op].cases if not case.large and 0 not in case.axes.values()]
    assert {has_finite_poison(case) for case in cases} == {True, False}


def test_a_maximum_that_drops_nan_and_takes_what_nobody_wrote_is_seen():
    def careless(x, weight, eps, residual=None, out=None, out_dtype=torch.float32):
        scratch = torch.empty(4).nan_to_num(-torch.inf).amax().clamp_min(1.0)  # as a GPU's maximum has it
        result = OPS["rms_norm"].reference(x, weight, eps, residual, out, out_dtype)
        return (result[0] * scratch, result[1]) if residual is not None else (result * scratch).to(out_dtype)

    assert any(verdict.status == Status.FAIL for verdict in each("rms_norm", careless))


def test_inputs_with_poison_are_named():
    named = {
        case.profile: measure_op(OPS["attention_decode"], case)["poisoned"]
        for case in OPS["attention_decode"].cases
        if not case.large and case.axes["B"] <= 3
    }
    assert ["k_cache", "v_cache"] in named.values()
    assert named["nan"] == []  # there a NaN is what is asked


def test_an_answer_is_computed_once_where_it_is_kept_and_for_its_own_contract_alone():
    op, asked = OPS["rms_norm"], []

    def reference(x, *rest, **options):
        asked.append(x.dtype)
        return op.reference(x, *rest, **options)

    counted = replace(op, reference=reference)
    case = next(case for case in op.cases if case.dtype == "float32" and not case.large)
    first = measure_op(counted, case, "cpu", op.call)
    assert asked == [torch.float64, torch.float32]
    with answers_kept():
        for _ in range(3):
            assert measure_op(counted, case, "cpu", op.call) | {"seconds": first["seconds"]} == first
        assert asked == 2 * [torch.float64, torch.float32]
        measure_op(replace(counted, bound=lambda **inputs: op.bound(**inputs)), case, "cpu", op.call)
        assert len(asked) == 6
    measure_op(counted, case, "cpu", op.call)
    assert len(asked) == 8


def test_no_bound_is_computed_for_an_output_of_a_wrong_dtype():
    op = OPS["rms_norm"]
    case = next(case for case in op.cases if case.dtype == "float32" and not case.large)
    evidence = measure_op(replace(op, bound=pytest.fail), case, "cpu", lambda x, *rest, **options: x.double())
    assert evidence["problems"] == ["y is float64, must be float32"]


def test_a_kept_answer_is_not_what_the_function_is_given():
    op = OPS["rms_norm"]
    case = next(case for case in op.cases if case.dtype == "float32" and not case.large)

    def writes(x, *rest, **options):
        return x.zero_()

    with answers_kept():
        measure_op(op, case, "cpu", writes)
        assert accuracy.evaluate(measure_op(op, case, "cpu", op.call)).status == Status.PASS
