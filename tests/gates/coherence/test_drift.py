"""Two recordings: what changed is said, and whether it exceeds HF bfloat16's own noise."""

import json

import pytest
import torch

from braidcheck.cli import main
from braidcheck.gates.coherence.drift import changed_entries
from braidcheck.golden import record, store
from braidcheck.golden.readings import Readings
from braidcheck.golden.resolve import NANO_GOLDEN

FIELDS = tuple(Readings.__dataclass_fields__)

FIRST, STOP = 2, 12  # of the golden's documents: ten brief ones
AXES = {"hidden": 1, "norm": 1, "entropy": -1}
OFFSETS = dict.fromkeys(("hidden", "norm", "entropy"), "sample_offsets") | {"full": "full_offsets"}


def part(whole):
    """The tensors of some documents of a golden."""
    tensors = {name: whole.tensors[name] for name in ("projection", "probes", "greedy_margin", "greedy_noise")}
    tensors |= {name: whole.tensors[name] for name in ("prompts", "greedy_ids", "greedy_offsets")}
    tensors["probes"] = tensors["probes"][:0]
    tensors["prompts"] = torch.tensor([[0, 9], [1, 8]], dtype=torch.int32)  # their numbers, which nothing looks up
    for name in ("offsets", "sample_offsets", "full_offsets"):
        tensors[name] = whole.tensors[name][FIRST : STOP + 1] - whole.tensors[name][FIRST]
    cuts = {"ids": "offsets", "top_ids": "offsets", "samples": "sample_offsets", "full_positions": "full_offsets"}
    cuts |= {f"{name}.{run}": OFFSETS.get(name, "offsets") for name in FIELDS for run in store.RUNS}
    for name, offsets in cuts.items():
        start, stop = whole.tensors[offsets][[FIRST, STOP]].tolist()
        axis = AXES.get(name.split(".")[0], 0)
        before, inside = (FIRST, STOP - FIRST) if name.startswith("nll") else (0, 0)  # one less a document
        tensors[name] = whole.tensors[name].narrow(axis, start - before, stop - start - inside)
    return tensors


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """The folder of a part of nano's golden, and the golden."""
    whole, place = store.load(NANO_GOLDEN), tmp_path_factory.mktemp("part") / "golden"
    return place, record._write(
        place, json.loads(json.dumps(whole.manifest)) | {"documents": STOP - FIRST}, part(whole)
    )


def moved(golden, factor, every=1):
    """HF bfloat16's readings with errors that are so many times as large, at ``every`` so many positions."""
    tensors = dict(golden[1].tensors)

    def with_errors(name):
        truth, floor = (tensors[f"{name}.{run}"].double() for run in store.RUNS)
        return (truth + factor * (floor - truth)).to(tensors[f"{name}.bfloat16"].dtype)

    found = {name: with_errors(name) for name in ("top", "tail", "full", "hidden")}
    found["lse"] = torch.cat([found["top"].double(), found["tail"][:, None]], dim=-1).logsumexp(dim=-1).float()
    for name in ("top", "tail", "lse"):
        rest = torch.arange(len(found[name])) % every > 0
        found[name][rest] = tensors[f"{name}.bfloat16"][rest]
    return tensors | {f"{name}.bfloat16": value for name, value in found.items()}


@pytest.fixture
def after(golden, tmp_path):
    """``after(tensors, **entries)``: a recording beside the golden, its folder."""

    def write(tensors, **entries):
        record._write(tmp_path / "after", json.loads(json.dumps(golden[1].manifest)) | entries, tensors)
        return str(tmp_path / "after")

    return write


def test_the_same_numbers_of_other_versions(golden, after, capsys):
    versions = golden[1].manifest["versions"] | {"transformers": "9.9"}
    assert main(["golden", "diff", str(golden[0]), after(golden[1].tensors, versions=versions)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"versions.transformers: {golden[1].manifest['versions']['transformers']} -> 9.9",
        "float32: bit-identical",
        "bfloat16: bit-identical",
        "not significant: no change",
    ]


@pytest.mark.numeric
def test_errors_on_the_other_side_at_some_positions_do_not_matter(golden, after, capsys):
    assert main(["golden", "diff", str(golden[0]), after(moved(golden, -1, every=32))]) == 0
    said = capsys.readouterr().out
    assert "bfloat16: KL is " in said
    assert "not significant: what changed is within HF bfloat16's own noise" in said


@pytest.mark.numeric
@pytest.mark.parametrize(
    ("factor", "way"), [(2, "bfloat16, after on before: kl"), (0.5, "bfloat16, before on after: hidden")]
)
def test_larger_or_smaller_errors_matter(golden, after, capsys, factor, way):
    assert main(["golden", "diff", str(golden[0]), after(moved(golden, factor))]) == 1
    said = capsys.readouterr().out
    assert f"fail {way}" in said
    assert "\nsignificant: " in said


@pytest.mark.numeric
def test_another_answer_and_another_truth_matter(golden, after, capsys):
    tensors = dict(golden[1].tensors)
    tensors["greedy_ids"] = tensors["greedy_ids"].clone()
    tensors["greedy_ids"][3] += 1
    tensors["nll.float32"] = tensors["nll.float32"] + 0.01
    assert main(["golden", "diff", str(golden[0]), after(tensors)]) == 1
    said = capsys.readouterr().out
    assert "1 of 2 greedy answers are the same" in said
    assert "NLL moves by +0.01 nats per token" in said
    assert "fail float32, after on before: nll" in said
    assert "fail float32, after on before: continuation" in said


def test_recordings_of_other_texts_are_refused(golden, after, capsys):
    tensors = dict(golden[1].tensors)
    tensors["ids"] = tensors["ids"].roll(1)
    assert main(["golden", "diff", str(golden[0]), after(tensors)]) == 2
    assert "the recordings have different tokens from document 0 on" in capsys.readouterr().err


def test_entries_that_came_or_went():
    one, other = {"versions": {"torch": "1"}, "date": "x"}, {"versions": {"torch": "1", "numpy": "2"}, "date": "y"}
    assert changed_entries(one, other) == [("versions.numpy", "", "2")]
    assert changed_entries(other, one) == [("versions.numpy", "2", "")]
