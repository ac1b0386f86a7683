"""On a GPU: one case an op, small enough to run under a memory checker (see ``nox -s sanitize``)."""

import pytest

from braidcheck import kernels
from braidcheck.evidence.op import observe_op
from braidcheck.gates import accuracy
from braidcheck.results import Status

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("op", kernels.find().values(), ids=kernels.find())
def test_the_compiled_kernel_is_within_its_bound(op):
    case = next(case for case in op.cases if case.profile == "tail" and not case.large)
    verdict = accuracy.judge(observe_op(op, case, "cuda"))
    assert verdict.status == Status.PASS, verdict.sentence
