"""A golden that was not recorded from HF's own code, with eager attention and in both dtypes, is refused."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save

from braidcheck.errors import GoldenError
from braidcheck.golden import hf, provenance, record, store
from braidcheck.golden.provenance import REQUIRED, implausible, unlike

TRUTH = torch.tensor([[1.0, 1 + 2**-12], [2.5, -3.1]])
FLOOR = torch.tensor([[1.0, 1.0], [2.5, -3.0]], dtype=torch.bfloat16)


def numbers(truth=TRUTH, floor=FLOOR):
    return {"top.float32": truth, "top.bfloat16": floor}


def model(dtype, attention="eager", kernels=False):
    """A stand-in of what HF loads: one part, torch's own."""
    made = torch.nn.Sequential(torch.nn.Linear(2, 2, dtype=dtype))
    made.config = type("Config", (), {"_attn_implementation": attention})
    made.use_kernels = kernels
    return made


def pair(**more):
    return [model(torch.float32, **more), model(torch.bfloat16, **more)]


class Engine(torch.nn.Linear):
    """A part with code of its own."""

    def forward(self, x):
        return super().forward(x)


def test_runs_of_hf_as_installed_are_what_a_golden_needs():
    assert provenance.provenance(pair(), "cuda:1") == {**REQUIRED, "device": "cuda"}
    assert unlike(REQUIRED) == ""
    assert implausible(numbers()) == ""


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (pair(attention="sdpa"), "attention sdpa, not eager"),
        ([model(torch.float32), model(torch.bfloat16, "sdpa")], "attention eager and sdpa, not eager"),
        (pair(kernels=True), "hub_kernels True, not False"),
        ([model(torch.float32), model(torch.bfloat16, kernels=True)], "hub_kernels True, not False"),
        ([model(torch.float32), model(torch.float16)], r"dtypes \['float32', 'float16'\]"),
        ([model(torch.bfloat16), model(torch.float32)], r"dtypes \['bfloat16', 'float32'\]"),
        ([model(torch.float32)], r"dtypes \['float32'\]"),
    ],
)
def test_other_runs_are_not_recorded(models, words):
    with pytest.raises(GoldenError, match=f"cannot record a golden: its runs have {words}") as caught:
        provenance.provenance(models, "cpu")
    assert "\n" not in str(caught.value)


def test_a_weight_of_another_dtype_is_seen():
    models = pair()
    models[0][0].bias = torch.nn.Parameter(models[0][0].bias.to(torch.bfloat16))
    with pytest.raises(GoldenError, match="bfloat16 and float32"):
        provenance.provenance(models, "cpu")


@pytest.mark.parametrize("run", [0, 1])
def test_an_engine_s_code_is_not_recorded(run):
    models = pair()
    models[run].append(Engine(2, 2, dtype=models[run][0].weight.dtype))
    with pytest.raises(GoldenError, match=f"1 runs code of {Engine.__module__}; record it from HF"):
        provenance.provenance(models, "cpu")


def test_a_kernel_put_into_one_part_is_not_recorded():
    models = pair()
    models[1][0].forward = lambda x: x
    with pytest.raises(GoldenError, match="0 runs code of"):
        provenance.provenance(models, "cpu")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (numbers(floor=FLOOR.float()), "its logits are torch.float32 and torch.float32"),
        (numbers(truth=TRUTH.double()), "its logits are torch.float64 and torch.bfloat16"),
        (numbers(truth=TRUTH.bfloat16()), "its logits are torch.bfloat16 and torch.bfloat16"),
        (numbers(truth=TRUTH.bfloat16().float()), "its float32 logits are all bfloat16 numbers"),
        (numbers(floor=TRUTH.bfloat16()), "its bfloat16 logits are the float32 run's, rounded"),
        (numbers(truth=torch.where(TRUTH > 2, torch.nan, TRUTH)), "not all finite"),
        (numbers(floor=torch.where(FLOOR > 2, torch.inf, FLOOR)), "not all finite"),
    ],
)
def test_logits_that_hf_cannot_have_given_are_told(found, words):
    assert words in implausible(found)


def forged(recorded, place, runs=None, tensors=None):
    """A copy of a golden with other ``runs`` or tensors, whose hashes are right."""
    shutil.copytree(recorded, place)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["runs"] |= runs or {}
    data = save(load_file(place / "golden.safetensors") | (tensors or {}))
    (place / "golden.safetensors").write_bytes(data)
    manifest["golden"]["sha256"] = hashlib.sha256(data).hexdigest()
    manifest["digest"] = store.digest(manifest)
    (place / "manifest.json").write_text(json.dumps(manifest))
    return place


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ({}, ""),
        ({"attention": "sdpa"}, "its runs have attention sdpa, not eager"),
        ({"hub_kernels": True}, "its runs have hub_kernels True, not False"),
        ({"dtypes": ["float32", "float16"]}, "its runs have dtypes"),
    ],
)
def test_a_golden_with_other_runs_is_refused(tmp_path, recorded, runs, words):
    place = forged(recorded, tmp_path / "golden", runs)
    if not words:
        store.load(place)
        return
    with pytest.raises(GoldenError, match=f"is not HF's answer: {words}.*; record it again"):
        store.load(place)


def test_a_golden_of_an_engine_s_logits_is_refused(tmp_path, recorded):
    floor = load_file(recorded / "golden.safetensors")["top.bfloat16"]
    place = forged(recorded, tmp_path / "golden", tensors={"top.bfloat16": floor.float()})
    with pytest.raises(GoldenError, match=r"is not HF's answer: its logits are torch\.float32 and torch\.float32"):
        store.load(place)


def test_recording_asks_the_models_that_it_loads(tmp_path, nano, text, monkeypatch):
    load = hf.load_reference

    def other_attention(*arguments):
        reference = load(*arguments)
        reference.model.config._attn_implementation = "sdpa"
        return reference

    monkeypatch.setattr(record, "load_reference", other_attention)
    with pytest.raises(GoldenError, match="its runs have attention sdpa, not eager"):
        record.record(nano, text, tmp_path / "golden", device="cpu")
    assert not list(tmp_path.iterdir())
