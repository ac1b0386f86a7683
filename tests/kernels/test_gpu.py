"""On a GPU: one case an op, also under a memory checker (see ``nox -s sanitize``), and addresses past 2^31."""

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.kernels.attention_decode import attention_decode
from braidcheck.kernels.cache_write import cache_write
from braidcheck.kernels.lm_head import lm_head, oracle
from braidcheck.kernels.rms_norm import rms_norm
from braidcheck.numerics.error import distance
from braidcheck.result import Status

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("op", kernels.find().values(), ids=kernels.find())
def test_the_compiled_kernel_is_within_its_bound(op):
    case = next(case for case in op.cases if case.profile == "tail" and not case.large)
    verdict = accuracy.evaluate(measure_op(op, case, "cuda"))
    assert verdict.status == Status.PASS, verdict.message


LAST = slice(-3, None)  # the rows whose addresses need more than 31 bits


def test_more_than_2_to_the_31_elements_are_addressed():
    x = torch.zeros(2**21 + 5, 1024, dtype=torch.bfloat16, device="cuda")
    x[LAST] = torch.randn(3, 1024, device="cuda").bfloat16()
    weight = torch.ones(1024, device="cuda", dtype=torch.bfloat16)
    assert torch.equal(rms_norm(x, weight, 1e-6)[LAST], rms_norm(x[LAST].clone(), weight, 1e-6))


def test_more_than_2_to_the_31_logits_are_addressed():
    x = torch.randn(14200, 64, device="cuda").bfloat16()
    norm, weight = torch.ones(64, device="cuda").bfloat16(), torch.randn(151936, 64, device="cuda").bfloat16()
    got = lm_head(x, norm, weight, 1e-6)[LAST]
    exact = oracle.reference(x[LAST].double(), norm.double(), weight.double(), 1e-6)
    (rest,) = oracle.bound(x[LAST], norm, weight, 1e-6)
    assert distance(got, exact, rest).error_ratio < 1


def test_caches_of_more_than_2_to_the_31_elements_are_addressed():
    shape = 64, 40960, 8, 128
    k_cache, v_cache = (torch.zeros(shape, dtype=torch.bfloat16, device="cuda") for _ in "kv")
    k, v = (torch.randn(1, 8, 128, device="cuda").bfloat16() for _ in "kv")
    row, slot = (torch.tensor([last], device="cuda") for last in (63, 40959))
    cache_write(k, v, k_cache, v_cache, row, slot)
    assert torch.equal(k_cache[63, 40959], k[0])
    assert torch.equal(v_cache[63, 40959], v[0])
    q = torch.randn(64, 16, 128, device="cuda").bfloat16() * 30
    lengths = torch.full((64,), 40960, device="cuda")
    alone = attention_decode(q[-1:], k_cache[-1:], v_cache[-1:], lengths[-1:], 0.09)
    assert alone.abs().max() > 0
    assert torch.equal(attention_decode(q, k_cache, v_cache, lengths, 0.09)[-1:], alone)
