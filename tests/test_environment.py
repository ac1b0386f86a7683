"""What is here and what is not, said in words."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from braidcheck import environment


@pytest.fixture(autouse=True)
def forget():
    environment.gpus.cache_clear()
    yield
    environment.gpus.cache_clear()


def with_gpus(monkeypatch, count, returncode=0):
    found = json.dumps([{"name": "G", "capability": "9.0", "memory_gib": 80.0}] * count)
    answer = SimpleNamespace(returncode=returncode, stdout=f"some warning\n{found}\n")
    monkeypatch.setattr(environment.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(environment.subprocess, "run", lambda *_args, **_options: answer)


def test_gpus_are_named_as_in_cuda_visible_devices(monkeypatch):
    with_gpus(monkeypatch, 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [gpu["id"] for gpu in environment.gpus()] == ["0", "1"]
    environment.gpus.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,5")
    assert [gpu["id"] for gpu in environment.gpus()] == ["GPU-a", "5"]


@pytest.mark.parametrize(("count", "returncode"), [(0, 0), (1, 1)])
def test_no_gpu_where_torch_sees_none_or_the_driver_is_broken(monkeypatch, count, returncode):
    with_gpus(monkeypatch, count, returncode)
    assert environment.gpus() == ()
    assert environment.why_no_gpu().startswith("no GPU that torch ")


def test_triton_exists_for_linux_only(monkeypatch):
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "Linux only" in environment.why_no_triton()
    monkeypatch.setattr(sys, "platform", "linux")
    assert "pip install triton" in environment.why_no_triton()


@pytest.mark.parametrize(
    ("triton", "numpy", "works"), [("3.6.0", "2.4.0", False), ("3.6.0", "2.3.5", True), ("3.7.1", "2.5.2", True)]
)
def test_the_interpreter_of_triton_36_needs_an_older_numpy(monkeypatch, triton, numpy, works):
    monkeypatch.setattr(environment, "why_no_triton", lambda: "")
    monkeypatch.setattr(environment, "version", {"triton": triton, "numpy": numpy}.get)
    assert (environment.why_no_interpreter() == "") is works


def test_the_fingerprint_is_plain_data_and_names_the_commit(monkeypatch, tmp_path):
    package = tmp_path / "braidcheck"
    package.mkdir()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    monkeypatch.setattr(environment, "PACKAGE", package)
    seen = json.loads(json.dumps(environment.fingerprint()))
    assert len(seen["commit"]) == 40
    assert seen["libraries"]["pytest"] == pytest.__version__
    (tmp_path / "changed").touch()
    assert environment.commit() == seen["commit"] + "+"


def test_extras_are_those_of_the_installed_package(monkeypatch):
    lines = [
        "numpy>=1.26",
        "bokeh>=3.8; extra == 'report'",
        'nvidia-ml-py>=12; sys_platform != "darwin" and extra == "gpu"',
    ]
    monkeypatch.setattr(environment.metadata, "requires", lambda name: lines)
    assert environment.extras() == {"report": ["bokeh"], "gpu": ["nvidia-ml-py"]}
