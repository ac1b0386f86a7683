"""The table of ops that a model is given: ops by name, replaced one by one, calls counted."""

from collections import Counter
from dataclasses import fields

import pytest

from braidcheck import kernels
from braidcheck.models.ops import KERNELS, REFERENCES, OpTable


def test_table_holds_ops():
    ops = {field.name: kernels.find()[field.name] for field in fields(OpTable)}
    assert vars(KERNELS) == {name: op.call for name, op in ops.items()}
    assert vars(REFERENCES) == {name: op.reference for name, op in ops.items()}


def test_replace_rejects_unknown_op():
    with pytest.raises(TypeError, match="no_op"):
        KERNELS.replace(no_op=print)


def test_counted_calls_the_same_function():
    calls = Counter()
    ops = KERNELS.replace(sample=lambda x: x + 1).counted(calls)
    assert ops.sample(1) == 2
    assert calls == {"sample": 1}
