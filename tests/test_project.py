"""The project's own files: pins that cover what is installed, workflows that cannot be turned against it."""

import os
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_every_dependency_is_pinned_for_a_reproducible_install():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.match(r"[\w-]+", line)[0].replace("_", "-") for line in project["dependencies"]}
    pinned = set(re.findall(r"^([\w.-]+)==\S+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert len(wanted) > 10
    assert wanted <= pinned


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_pin_their_actions_and_get_no_rights_by_default(path):
    text = path.read_text()
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in used)
    assert "\npermissions: {}\n" in text
    assert "pull_request_target" not in text
    assert not re.search(r"run:.*\$\{\{\s*github\.(event|head_ref)", text)


def test_foreign_code_never_reaches_the_gpu_machine():
    text = (ROOT / ".github" / "workflows" / "gpu.yml").read_text()
    assert "self-hosted" in text
    assert not re.search(r"^\s*pull_request", text, re.MULTILINE)


@pytest.mark.skipif(os.name != "posix", reason="no executable bit")
def test_ci_can_be_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
