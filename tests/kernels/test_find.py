"""What every op's file must define, whatever the op."""

import inspect

import pytest

from braidcheck import kernels
from braidcheck.op import Case

OPS = kernels.find()


def test_the_documents_ops_are_all_there():
    assert set(OPS) >= {
        "rms_norm", "rms_norm_qkv", "qkv_rope", "qk_norm_rope", "cache_write", "attention_prefill", "attention_decode",
        "fused_attention", "linear_residual", "gate_up_silu", "lm_head",
    }  # fmt: skip


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_reference_and_bound_are_called_like_the_op(op):
    wanted = list(inspect.signature(op.call).parameters)
    assert list(inspect.signature(op.reference).parameters) == wanted
    assert list(inspect.signature(op.bound).parameters) == wanted


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_cases_cover_dtypes_tails_and_a_gpu(op):
    assert {case.dtype for case in op.cases} == {"bfloat16", "float16", "float32"}
    assert any(case.profile == "qwen" for case in op.cases)
    assert any(case.profile == "tail" for case in op.cases)
    assert any(case.large for case in op.cases)
    assert len({case.id for case in op.cases}) == len(op.cases)
    assert all(case.op == op.name for case in op.cases)


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_a_case_needs_just_the_optional_arguments_that_it_gives(op):
    optional = {name for name, p in inspect.signature(op.call).parameters.items() if p.default is not p.empty}
    for case in op.cases:
        if not case.large:
            assert set(op.inputs(case, "cpu")) & optional == set(case.needs), case.id


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_cost_is_positive_where_there_is_work(op):
    for case in op.cases:
        cost = op.cost(case)
        assert cost.bytes > 0 or case.get("T", 1) == 0


def test_each_case_has_numbers_of_its_own():
    one, other = Case("rms_norm", {"T": 3, "H": 8}), Case("rms_norm", {"T": 3, "H": 8}, seed=1)
    drawn = [OPS["rms_norm"].inputs(case, "cpu")["x"] for case in (one, one, other)]
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].equal(drawn[2])
