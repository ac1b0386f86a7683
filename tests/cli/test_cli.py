"""The command line's other commands, and mistakes in the call."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from braidcheck import environment, kernels
from braidcheck.cli import COMMANDS, load
from braidcheck.gates import GATES
from braidcheck.golden import resolve


def test_list_prints_every_op_as_json(run):
    completed = run("list", "--json")
    ops = {op["name"]: op for op in json.loads(completed.out)["ops"]}
    assert completed.code == 0
    assert ops["rms_norm"]["signature"].startswith("(x:")
    assert ops["rms_norm"]["contract"]["outputs"] == {"y": "out_dtype or float32", "sum": "x"}
    case = ops["rms_norm"]["cases"][0]
    assert set(case) == {"id", "axes", "dtype", "profile", "large", "needs"}
    assert case["id"].startswith("rms_norm[")


def test_list_for_a_person(run):
    completed = run("list")
    assert completed.code == 0
    assert "rms_norm" in completed.out
    assert "Normalise each row" in completed.out


def test_list_of_an_op_says_how_it_is_called(run, refused):
    said = run("list", "rms_norm").out
    assert said.startswith("rms_norm(\n    x: Tensor,\n    weight: Tensor,\n    eps: float,\n")
    assert "x[T,H] and residual[T,H] float32" in said
    assert "\n  rms_norm[bfloat16-unit-T1-H1024]\n" in said
    assert [op["name"] for op in json.loads(run("list", "rms_norm", "--json").out)["ops"]] == ["rms_norm"]
    refused(2, "no op 'rmsnorm'; did you mean rms_norm?", "list", "rmsnorm")


def test_an_unknown_op_is_answered_with_all_ops(run):
    assert run("gate", "--op", "nope").err == f"braidcheck: no op 'nope'; one of {', '.join(sorted(kernels.find()))}\n"


def test_doctor_names_all_gates(run, no_gpu):
    completed = run("doctor")
    assert completed.code == 0
    assert "no: no GPU that torch" in completed.out
    for row, here in (("gates that can run", True), ("gates that need a GPU", False)):
        listed = completed.out.split(row)[1].split("gates that")[0].split("for more")[0]  # more lines than one
        assert set(re.findall(r"\w+", listed)) == {name for name in GATES if ("interpret" in GATES[name].lanes) is here}


def test_doctor_says_what_to_install_for_more(run, no_gpu, monkeypatch):
    versions = {"bokeh": "", "scipy": ""}
    monkeypatch.setattr(environment, "version", lambda name: versions.get(name, "1.0"))
    monkeypatch.setattr(
        environment, "extras", lambda: {"report": ["jinja2", "bokeh"], "gpu": ["scipy"], "whole": ["a"]}
    )
    lines = [line for line in run("doctor").out.splitlines() if line.startswith("for more: ")]
    assert lines[0] == "for more: the HTML report and the trend: pip install 'braidcheck[report]'"
    assert len(lines) == 2  # the other is a machine with a GPU, without which its extra is nothing
    assert "a GPU" in lines[1]


def test_doctor_says_where_nano_is(run, no_gpu, monkeypatch):
    monkeypatch.setattr(environment, "extras", lambda: {"nano": ["braidcheck-nano"]})
    monkeypatch.setattr(environment, "version", lambda name: "")
    found = run("doctor").out
    assert re.search(r"^ *nano +in the source tree", found, re.MULTILINE)
    assert "[nano]" not in found
    monkeypatch.setattr(resolve, "NANO", resolve.HERE / "no-such-folder")
    found = run("doctor").out
    assert re.search(r"^ *nano +not installed", found, re.MULTILINE)
    assert "for more: the embedded model, for the gates coherence and engine: pip install 'braidcheck[nano]'" in found


def test_doctor_and_list_without_triton(run, refused, no_gpu, monkeypatch):
    monkeypatch.setattr(environment, "why_no_triton", lambda: "Triton is not here")
    assert run("doctor").code == 3
    refused(3, "Triton is not here", "list")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gate", "--op", "nope"], "no op 'nope'; one of attention_decode, "),
        (["gate", "--op", "common"], "no op 'common'; one of attention_decode, "),
        (["check", "common", "mine.py:f"], "no op 'common'; one of attention_decode, "),
        (["gate", "--no-such"], "See: braidcheck gate --help"),
        (["gate", "--lane", "moon"], "See: braidcheck gate --help"),
        (["gate", "--workers", "0"], "See: braidcheck gate --help"),
        (["gate", "surplus"], "See: braidcheck gate --help"),
        (["nonsense"], "See: braidcheck --help"),
        (["check", "rms_norm"], "See: braidcheck check --help"),
        (["golden", "record"], "See: braidcheck golden record --help"),
        (["golden", "record", "./nowhere"], "no model ./nowhere"),
        (["golden", "record", "nano", "--dataset", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_mistakes_are_one_line(refused, no_gpu, words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(2, says, *words)


def test_what_this_machine_cannot_do_is_one_line(refused, no_gpu, monkeypatch):
    refused(3, "use --lane interpret", "gate", "--lane", "gpu")
    monkeypatch.setattr(environment, "why_no_interpreter", lambda: "numpy is too new")
    refused(3, "numpy is too new", "gate")


def test_without_arguments_the_help_is_shown(run):
    assert "doctor" in run().out


def test_no_help_loses_words_in_brackets():
    """Typer takes brackets in a docstring for markup, and what is in them away."""
    docs = [getattr(load(name).callback, "__doc__", None) or "" for name in COMMANDS]
    assert len(docs) > 12
    assert [doc for doc in docs if "[" in doc] == []


def test_golden_verify(run, refused, tmp_path):
    assert "intact, of nano" in run("golden", "verify").out
    golden = tmp_path / "golden"
    shutil.copytree(resolve.NANO_GOLDEN, golden)
    assert run("golden", "verify", golden).code == 0
    tensors = golden / "golden.safetensors"
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)
    refused(3, "sha256 differs", "golden", "verify", golden)
    refused(3, "no golden in", "golden", "verify", tmp_path / "nowhere")


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIDCHECK_CACHE", str(tmp_path / "cache"))
    return shutil.copytree(resolve.NANO, tmp_path / "checkpoint")


def test_a_directory_that_is_no_checkpoint(refused, checkpoint, tmp_path):
    (checkpoint / "config.json").unlink()
    refused(2, "needs config.json", "golden", "record", checkpoint)
    assert not (tmp_path / "cache").exists()


def test_a_truncated_checkpoint(refused, checkpoint, tmp_path):
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    refused(2, f"cannot load {checkpoint}", "golden", "record", checkpoint)
    assert not list(tmp_path.glob("cache/goldens/*"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, "lama"),
        ({"use_sliding_window": True, "sliding_window": 128}, "sliding"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}}, "yarn"),
    ],
)
def test_a_model_that_is_not_supported(refused, checkpoint, tmp_path, change, says):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | change))
    refused(2, says, "gate", "--model", checkpoint)
    assert not list(tmp_path.glob("cache/goldens/*"))


def test_a_hub_that_cannot_be_reached(refused, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    refused(3, "pass its directory to --model", "golden", "record", "some/model")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EIO])
def test_a_full_or_broken_disk_is_one_line_and_no_failed_gate(refused, monkeypatch, number):
    def full(**_):
        raise OSError(number, os.strerror(number), "out/run.json")

    monkeypatch.setattr("braidcheck.cli.app", full)
    refused(3, f"cannot write out/run.json: {os.strerror(number)}; free some room", "list")


@pytest.mark.usefixtures("fresh_python")
def test_a_stdout_that_is_full_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "braidcheck", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "No space left on device" in done.stderr
