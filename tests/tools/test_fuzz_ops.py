"""Drawn calls of every op: right or refused by name; ``python -m tools.fuzz_ops`` draws more of them."""

from collections import Counter
from dataclasses import replace

import pytest

from braidcheck import kernels
from tools import fuzz_ops

OPS = kernels.find()
COUNT = 15
HOW = {"derandomize": True, "database": None, "phases": [fuzz_ops.hypothesis.Phase.generate]}  # nothing is shrunk

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # numbers that overflow


@pytest.mark.parametrize("op", OPS)
def test_drawn_calls_are_served_rightly_or_refused_by_name(op):
    found = Counter()
    fuzz_ops.fuzz(OPS[op], COUNT, found, **HOW)
    assert 0 < found["served"] <= found["calls"]
    assert found["calls"] >= COUNT / 2


@pytest.mark.parametrize("wrong", ["numbers", "refusals"])
def test_an_op_that_answers_wrongly_is_found(wrong):
    op = OPS["rms_norm"]

    def call(*args, **kwargs):
        try:
            returned = op.call(*args, **kwargs)
        except ValueError:
            raise ValueError("no") from None
        return (returned[0] + 1, *returned[1:]) if isinstance(returned, tuple) else returned + (wrong == "numbers")

    with pytest.raises(AssertionError, match=r"bound off|does not name it"):
        fuzz_ops.fuzz(replace(op, call=fuzz_ops.functools.wraps(op.call)(call)), 40, Counter(), **HOW)


def test_a_length_that_would_wrap_is_no_length():
    from braidcheck.kernels.fused_attention.oracle import places

    for lengths in ([-(2**63)], [-1], [0]):
        for tokens in (1, 3):
            slots = places(tokens, 1, fuzz_ops.torch.tensor(lengths))[1]
            assert int(slots.max()) < 0
