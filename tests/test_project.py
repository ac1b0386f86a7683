"""The project's own files: pins that cover what is installed, workflows that cannot be turned against it."""

import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from braidcheck.result import Run, Status, Verdict

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEMPLATES = sorted((ROOT / "braidcheck" / "cli" / "templates").glob("*.yml"))  # which braidcheck init writes


def test_every_dependency_is_pinned_for_a_reproducible_install():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = declared["project"]
    extras = {name: extra for name, extra in project["optional-dependencies"].items() if name != "nano"}  # our own
    lines = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    lines += declared["dependency-groups"]["test"]
    wanted = {re.match(r"[\w-]+", line)[0].replace("_", "-") for line in lines}
    pinned = set(re.findall(r"^([\w.-]+)==\S+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert len(wanted) > 10
    assert wanted <= pinned


@pytest.mark.parametrize("path", [*WORKFLOWS, *TEMPLATES], ids=lambda path: path.name)
def test_workflows_pin_their_actions_and_get_no_rights_by_default(path):
    text = path.read_text()
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in used)
    assert "\npermissions: {}\n" in text
    assert "pull_request_target" not in text
    assert not re.search(r"run:.*\$\{\{\s*github\.(event|head_ref)", text)


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (Status.PASS, "passed"),
        (Status.FAIL, "failed"),
        (Status.ERROR, "error"),
        (Status.INCONCLUSIVE, "inconclusive"),
        (Status.SKIPPED, "nothing could be evaluated"),
    ],
)
def test_exit_code_of_each_status_is_documented(status, meaning):
    code = Run({}, (), (Verdict("accuracy", "x", status, "a message"),)).exit_code
    page = (ROOT / "docs" / "gates.md").read_text(encoding="utf-8")
    (documented,) = re.findall(rf"^\| {code} \| (.*) \|$", page, re.MULTILINE)
    assert meaning in documented
    assert meaning in re.search(rf"{code} ([^;]*)[;.]", Run.exit_code.__doc__)[1]


def jobs(name):
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())["jobs"]


def test_fork_code_needs_review_before_gpu_run():
    texts = {path.name: path.read_text() for path in WORKFLOWS}
    assert {name for name, text in texts.items() if "self-hosted" in text} == {"gpu.yml", "nightly.yml"}
    assert all(job["environment"] == "gpu" for job in jobs("gpu.yml").values())
    assert not re.search(r"^\s*(pull_request|workflow_run)", texts["nightly.yml"], re.MULTILINE)


def test_no_job_that_runs_on_another_machine_may_write():
    for path in WORKFLOWS:
        for job in jobs(path.name).values():
            if "self-hosted" in job["runs-on"]:
                assert job["permissions"] == {"contents": "read"}


def test_what_may_comment_checks_out_the_default_branch_only():
    (job,) = jobs("comment.yml").values()
    checkouts = [step["with"] for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert [given["ref"] for given in checkouts] == ["${{ github.event.repository.default_branch }}"]
    assert "permissions" in job
    assert "write" not in (job["permissions"]["contents"], job["permissions"]["actions"])


def test_only_what_a_reviewer_let_through_is_uploaded():
    rights = {
        (path.name, name): job
        for path in WORKFLOWS
        for name, job in jobs(path.name).items()
        if "id-token" in job["permissions"] and "gh-action-pypi-publish" in str(job["steps"])
    }
    assert rights.keys() == {("release.yml", "publish")}
    (job,) = rights.values()
    assert (job["environment"], job["permissions"]) == ("release", {"id-token": "write"})
    assert set(job["needs"]) == jobs("release.yml").keys() - {"publish"}
    assert not any("run" in step or "checkout" in step["uses"] for step in job["steps"])
    (publish,) = (step for step in job["steps"] if "pypi" in step["uses"])
    assert publish["with"] == {"attestations": True}  # and no password: trusted publishing


def test_the_wheel_is_tried_on_every_python_that_the_package_names():
    (tried,) = jobs("release.yml")["wheel"]["strategy"]["matrix"].values()
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    assert tried == [line.rpartition(" ")[2] for line in classifiers if re.search(r":: 3\.\d+$", line)]


def test_no_checkout_leaves_credentials_behind():
    steps = [step for path in WORKFLOWS for job in jobs(path.name).values() for step in job["steps"]]
    checkouts = [step["with"] for step in steps if "checkout" in step.get("uses", "")]
    assert len(checkouts) > 8
    assert all(given["persist-credentials"] is False for given in checkouts)


@pytest.mark.skipif(os.name != "posix", reason="no executable bit")
def test_ci_can_be_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
