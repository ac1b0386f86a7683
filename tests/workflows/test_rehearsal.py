"""All workflows from end to end, as ``nox -s rehearse`` plays them."""

import importlib
import shutil
import tempfile
from pathlib import Path

import pytest

TOOLS = ("bash", "git", "jq", "tar")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")


@pytest.fixture
def folder(tmp_path):
    """Gone after the test, for it holds many copies of this tree."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as name:
        yield Path(name)


@pytest.fixture
def rehearse(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("rehearse")


def test_every_step_does_what_it_should(rehearse, folder):
    said = []
    assert rehearse.rehearse(folder, say=said.append) == []
    assert sum("failed, as it should" in line for line in said) == 7
    assert any("nox -s gpu_tests --against" in line and "not rehearsed: needs a GPU" in line for line in said)


def test_a_step_that_fails_is_a_surprise(rehearse, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(rehearse, "WORKFLOWS", tmp_path / "workflows")
    shutil.copytree(rehearse.ROOT / ".github" / "workflows", tmp_path / "workflows")
    gpu = tmp_path / "workflows" / "gpu.yml"
    gpu.write_text(gpu.read_text().replace("--against", "--againts"))
    rehearsal = rehearse.Rehearsal(folder, say=lambda line: None)
    site = rehearsal.site("gpu", "pull_request", rehearse.pull_request(rehearsal), rehearsal.head)
    rehearsal.play("gpu", site)
    (surprise,) = rehearsal.surprises
    assert "GPU tests" in surprise
