"""A step's kernels, summed by op: from records as the profiler gives them."""

import pytest

from braidcheck.benchmarks import profile
from braidcheck.errors import NotAvailable


def test_kernels_are_summed_by_op_the_costliest_first():
    events = [("_a", 4.0), ("_a", 6.0), ("_b", 30.0), ("copy_kernel", 2.0), ("_c", 8.0)]
    rows = profile.phases(events, 2, {"_a": "norm", "_b": "head", "_c": "norm"})
    assert [(row["op"], row["kernel"], row["launches"], row["microseconds"]) for row in rows] == [
        ("head", "_b", 0.5, 15.0),
        ("norm", "_a", 1.0, 5.0),
        ("norm", "_c", 0.5, 4.0),
        ("PyTorch", "copy_kernel", 0.5, 1.0),
    ]


def test_every_kernel_has_an_owner():
    owners = profile.owners()
    assert owners["_rms_norm"] == "rms_norm"
    assert owners["project_to_cache"] == "fused_attention"


def test_where_nothing_is_recorded_nothing_is_said(monkeypatch):
    class Subject:
        runs = ()

        def run(self, count):
            self.runs = (*self.runs, count)

    monkeypatch.setattr(profile, "_recorded", lambda call: [("a memory copy", 1.0)] if call() is None else [])
    subject = Subject()
    with pytest.raises(NotAvailable, match="records no kernels"):
        profile._kernels(subject)
    assert subject.runs == (32, 1)
    monkeypatch.setattr(profile, "_recorded", lambda call: [("_rms_norm", 1.0)])
    assert profile._kernels(subject) == ([("_rms_norm", 1.0)], 32)
