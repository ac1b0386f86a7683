"""The ops bench around its calls: what each series and subject ends with, with timing itself left out."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from braidcheck import kernels
from braidcheck.benchmarks import fusions, ops
from braidcheck.benchmarks.clocks import NoClocks
from braidcheck.benchmarks.shapes import Series
from braidcheck.op import Case

LIMITS = {"copy": 1e9, "read": 1e9, "matrix": 1e12}


class Rounds:
    """In place of a graph's replays: a call that cannot be captured raises, others take 1, 2, 3, ... us."""

    def __init__(self, call, inputs, touched):
        call(**inputs)
        self.seconds = 0.0

    def turn(self):
        self.seconds += 1e-6
        return {"seconds": self.seconds}


@pytest.fixture
def measure(monkeypatch):
    shape = {"T": 3, "H": 64}
    monkeypatch.setattr(
        ops, "series", lambda found: [Series(f"{name}[small]", name, Case(name, shape)) for name in found]
    )
    monkeypatch.setattr(ops, "Monitor", lambda uuid: None)
    monkeypatch.setattr(ops, "measure_limits", lambda device: LIMITS)
    monkeypatch.setattr(fusions, "Replay", Rounds)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="none"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch, "compile", lambda call, **options: call)
    rms_norm = kernels.find()["rms_norm"]

    def measure(with_baselines=False, **fields):
        return ops.measure_ops({"rms_norm": replace(rms_norm, **fields)}, with_baselines, device="cpu")

    return measure


def test_every_subject_has_its_rounds(measure):
    seen = measure(with_baselines=True)
    (found,) = seen["series"].values()
    assert list(found["subjects"]) == ["braidcheck", "eager", "torch.compile"]
    for subject in found["subjects"].values():
        assert subject == pytest.approx({"seconds": 3e-6, "low": 1e-6, "high": 5e-6, "kept": 5})
    assert found["bytes"] > 0
    assert list(measure()["series"]["rms_norm[small]"]["subjects"]) == ["braidcheck"]


def test_wrong_baseline_is_refused_and_uncapturable_one_is_skipped(measure, monkeypatch):
    class Fails(Rounds):
        def __init__(self, call, inputs, touched):
            super().__init__(call, inputs, touched)
            raise RuntimeError("cannot be captured")

    right = kernels.find()["rms_norm"].eager_baseline
    wrong = measure(with_baselines=True, eager_baseline=lambda x, weight, eps: right(x, weight, eps) * 1.1)
    subjects = wrong["series"]["rms_norm[small]"]["subjects"]
    assert subjects["eager"] == {"refused": "its answer differs by 0.1 of the norm from the reference's"}
    assert subjects["braidcheck"]["seconds"]
    monkeypatch.setattr(fusions, "Replay", Fails)
    subjects = measure()["series"]["rms_norm[small]"]["subjects"]
    assert subjects["braidcheck"] == {"skipped": "RuntimeError: cannot be captured"}


def test_an_op_without_an_eager_form_says_so(measure):
    subjects = measure(with_baselines=True, eager_baseline=None)["series"]["rms_norm[small]"]["subjects"]
    assert list(subjects) == ["braidcheck", "eager"]
    assert subjects["eager"]["skipped"].startswith("it has no eager baseline")


def test_without_clocks_nothing_is_timed(measure, monkeypatch):
    def none(uuid):
        raise NoClocks("the clocks cannot be read: install nvidia-ml-py")

    monkeypatch.setattr(ops, "Monitor", none)
    assert measure() == {"reason": "the clocks cannot be read: install nvidia-ml-py"}
