"""Architectures: which checkpoint is whose, and one that a folder adds."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from braidcheck import models
from braidcheck.environment import PACKAGE
from braidcheck.errors import CheckpointError
from braidcheck.gates import engine

# What each consumer of the registry makes of the architecture, as JSON.
FOUND_BY = """
import json
from braidcheck import models
from braidcheck.gates import GATES, engine, layers
from braidcheck.settings import Settings
from braidcheck.static import configurations

settings = Settings("interpret", "out")
found = models.find()["throw_away"]
print(json.dumps({
    "engine": [name for name in GATES["engine"].subjects(settings) if "throw_away" in name],
    "loader": "tiny throw_away" in GATES["loader"].subjects(settings),
    "layers": "synthetic of two layers: layer 1 decode" in GATES["layers"].subjects(settings),
    "static": any("Throw-away" in one.name for one in configurations.find(["linear_residual"])),
}))
"""

CHANGES = {
    "models.qwen3": "models.throw_away",
    'model_type: ClassVar[str] = "qwen3"': 'model_type: ClassVar[str] = "throw_away"',
    'title="Qwen3-0.6B"': 'title="Throw-away"',
    'full_size_name="0.6B"': 'full_size_name="of two layers"',
    "num_hidden_layers=28": "num_hidden_layers=2",
    "intermediate_size=3072": "intermediate_size=2560",
}


def test_folders_are_named_as_their_checkpoints_are():
    assert {name: architecture.name for name, architecture in models.find().items()} == {"qwen3": "qwen3"}


@pytest.mark.parametrize("entries", [{"model_type": "llama"}, {"architectures": ["LlamaForCausalLM"]}, {}])
def test_unknown_architecture_is_refused_in_one_line(tmp_path, entries):
    (tmp_path / "config.json").write_text(json.dumps(entries))
    with pytest.raises(CheckpointError, match=r"runs model_type qwen3 only") as caught:
        models.of_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def package(tmp_path):
    """Runs Python where a copy of the package has one more architecture, by one folder; its output."""
    ignored = shutil.ignore_patterns("__pycache__", "nano", "nano_golden")
    folder = shutil.copytree(PACKAGE, tmp_path / "braidcheck", ignore=ignored) / "models"
    shutil.copytree(folder / "qwen3", folder / "throw_away")
    for path in (folder / "throw_away").glob("*.py"):
        text = path.read_text()
        for old, new in CHANGES.items():
            text = text.replace(old, new)
        path.write_text(text)

    def run(*words):
        env = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1", "COLUMNS": "200"}
        env.pop("TRITON_INTERPRET", None)
        command = [sys.executable, *words]
        return subprocess.run(command, env=env, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    return run


def test_one_folder_adds_an_architecture_to_the_gates(package):
    found = json.loads(package("-c", FOUND_BY))
    parts = engine.parts(models.find()["qwen3"])
    assert found == dict.fromkeys(found, True) | {"engine": [f"tiny throw_away: {part}" for part in parts]}


def test_one_folder_adds_an_architecture_that_is_evaluated(package, tmp_path):
    said = package(
        "-m",
        "braidcheck",
        "gate",
        "--lane",
        "interpret",
        "--workers",
        "1",
        "-k",
        "throw_away and (engine and separated or loader)",
    )
    assert "PASS: 2 pass" in said
    run = json.loads((tmp_path / "braidcheck-out" / "run.json").read_text())
    assert run["expected"] == ["interpret/engine/tiny throw_away: separated", "interpret/loader/tiny throw_away"]
