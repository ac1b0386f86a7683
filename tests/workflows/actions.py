"""A workflow's jobs and steps on this machine: what GitHub does around a step, as far as these workflows ask for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
TOKEN = re.compile(r"\s*('(?:[^']|'')*'|&&|\|\||==|!=|!|\(|\)|\d+|[A-Za-z_][\w.-]*)")
WORDS = {"&&": " and ", "||": " or ", "!": " not "}


@dataclass
class Step:
    """What became of a step: ``status`` is ok, failed, skipped or not rehearsed."""

    job: str
    name: str
    status: str
    said: str = ""


@dataclass
class Site:
    """A repository on a make-believe GitHub: its remote, its artifacts, and the event that starts a workflow."""

    folder: Path
    remote: Path
    github: dict[str, Any]
    path: str  # where the commands are found that stand in for others
    env: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)  # of a composite action whose steps are played as a job's

    def __post_init__(self) -> None:
        self.artifacts.mkdir(parents=True, exist_ok=True)

    @property
    def artifacts(self) -> Path:
        """A folder an artifact."""
        return self.folder / "artifacts"


def load(path: Path) -> dict[str, Any]:
    """A workflow; YAML 1.1 reads its key "on" as true."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def evaluate(text: str, contexts: Mapping[str, Any]) -> Any:
    """The value of an expression: literals, names with dots, calls without arguments, ! && || == and brackets."""
    made, end = "", 0
    while text[end:].strip():
        token = TOKEN.match(text, end)
        if token is None:
            raise ValueError(f"this rehearsal does not know {text[end:]!r} in {text!r}")
        word, end = token[1], token.end()
        if word[0] == "'":
            made += repr(word[1:-1].replace("''", "'"))
        elif word[0].isalpha() or word[0] == "_":
            made += f"_({word!r})" if text[end : end + 1] != "(" else f"_({word + '()'!r})"
            end += 2 if text[end : end + 2] == "()" else 0
        else:
            made += WORDS.get(word, word)
    return eval(made.strip(), {"__builtins__": {}, "_": lambda name: look_up(name, contexts)})


def look_up(name: str, contexts: Mapping[str, Any]) -> Any:
    """A context's value; empty where it has none, as on GitHub."""
    value: Any = contexts
    for part in name.split("."):
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    return value


def fill(value: Any, contexts: Mapping[str, Any]) -> str:
    """Text with its expressions evaluated."""
    found = EXPRESSION.sub(lambda match: _text(evaluate(match[1], contexts)), str(value))
    return found if not isinstance(value, bool) else str(value).lower()


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def run(workflow: Mapping[str, Any], site: Site, note: Callable[[Step], None]) -> dict[str, str]:
    """Run the jobs in their order, of a matrix the last column; each one's result: success, failure or skipped."""
    results: dict[str, str] = {}
    left = dict(workflow["jobs"])
    while left:
        name = next(name for name, job in left.items() if not set(_needs(job)) & left.keys())
        results[name] = Job(name, left.pop(name), workflow, site, results).run(note)
    return results


def _needs(job: Mapping[str, Any]) -> list[str]:
    needed = job.get("needs", [])
    return [needed] if isinstance(needed, str) else needed


class Job:
    """One job in an empty workspace of its own."""

    def __init__(self, name: str, job: Mapping[str, Any], workflow: Mapping[str, Any], site: Site, done: Any) -> None:
        self.name, self.job, self.site = name, job, site
        self.folder = site.folder / f"{len(list(site.folder.iterdir()))}-{name}"
        self.workspace = self.folder / "workspace"
        self.failed = any(done[other] == "failure" for other in _needs(job))
        self.skipped = any(done[other] == "skipped" for other in _needs(job))
        matrix = job.get("strategy", {}).get("matrix", {})
        self.contexts: dict[str, Any] = {
            "github": site.github,
            "inputs": site.inputs,
            "vars": {},
            "matrix": {key: values[-1] for key, values in matrix.items()},
            "needs": {other: {"result": done[other]} for other in _needs(job)},
            "steps": defaultdict(dict),
        }
        self.env = self._filled({**workflow.get("env", {}), **job.get("env", {})})

    def run(self, note: Callable[[Step], None]) -> str:
        """The job's result."""
        if not self._wanted(self.job):
            return "skipped"
        self.failed = self.skipped = False  # from here on it is the job's own steps that count
        self.workspace.mkdir(parents=True)
        for step in self._steps():
            note(step)
            self.failed |= step.status == "failed"
        return "failure" if self.failed else "success"

    def _steps(self) -> Iterator[Step]:
        for number, step in enumerate(self.job["steps"]):
            name = step.get("name") or step.get("uses", "").split("@")[0] or step["run"].splitlines()[0]
            if not self._wanted(step):
                yield Step(self.name, name, "skipped")
                continue
            made = (
                self._action(name, step) if "uses" in step else self._shell(name, step, self.folder / f"step-{number}")
            )
            if made.status == "failed" and step.get("continue-on-error"):
                made = Step(self.name, name, "ok", "it failed, which it may")
            yield made

    def _wanted(self, part: Mapping[str, Any]) -> bool:
        said = str(part.get("if", "success()"))
        text = (EXPRESSION.fullmatch(said.strip()) or [None, said])[1]
        states = {"success()": not (self.failed or self.skipped), "failure()": self.failed, "cancelled()": False}
        contexts = {**self.contexts, **states, "always()": True, "env": self._environment()}
        asked = any(state in text for state in (*states, "always()"))
        return bool(evaluate(text, contexts)) and (asked or states["success()"])

    def _environment(self) -> dict[str, str]:
        return dict(getattr(self, "env", {}))

    def _filled(self, env: Mapping[str, Any]) -> dict[str, str]:
        return {key: fill(value, self.contexts) for key, value in env.items()}

    def _shell(self, name: str, step: Mapping[str, Any], folder: Path) -> Step:
        """A ``run:`` step in bash as GitHub starts it."""
        folder.mkdir()
        files = {key: folder / key for key in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "NOT_REHEARSED")}
        for file in files.values():
            file.touch()
        kept = {key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR", "VIRTUAL_ENV") if key in os.environ}
        env = kept | {"PATH": self.site.path, "CI": "true", "GITHUB_ACTIONS": "true"} | self.site.env | self.env
        env |= self._filled(step.get("env", {})) | {key: str(file) for key, file in files.items()}
        (folder / "script").write_text(fill(step["run"], self.contexts), encoding="utf-8")
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(folder / "script")]
        done = subprocess.run(
            command, cwd=self.workspace, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )  # fmt: skip
        said = done.stdout.decode(errors="replace")
        (folder / "log").write_text(said, encoding="utf-8")
        if "id" in step:
            lines = files["GITHUB_OUTPUT"].read_text().splitlines()
            self.contexts["steps"][step["id"]]["outputs"] = dict(line.split("=", 1) for line in lines)
        if done.returncode:
            return Step(self.name, name, "failed", f"exit {done.returncode}: {said.strip()[-600:]}")
        stood_in = files["NOT_REHEARSED"].read_text().strip()
        return Step(self.name, name, "not rehearsed" if stood_in else "ok", stood_in)

    def _action(self, name: str, step: Mapping[str, Any]) -> Step:
        action, _, version = step["uses"].partition("@")
        if not re.fullmatch("[0-9a-f]{40}", version):
            return Step(self.name, name, "failed", f"{step['uses']} is not pinned by a SHA")
        given = self._filled(step.get("with", {}))
        try:
            said = getattr(self, "_" + re.sub("[-/]", "_", action.removeprefix("actions/")))(given)
        except (AttributeError, FileNotFoundError, subprocess.CalledProcessError) as error:
            return Step(self.name, name, "failed", f"{action}: {error}")
        return Step(self.name, name, "not rehearsed" if said else "ok", said or "")

    def _checkout(self, given: Mapping[str, str]) -> None:
        if given.get("persist-credentials") != "false":
            raise FileNotFoundError("credentials would be persisted")
        folder = self.workspace / given.get("path", ".")
        ref = given.get("ref", self.site.github["sha"])
        clone = ["git", "clone", "--quiet", "--shared", "--no-checkout", str(self.site.remote), str(folder)]
        subprocess.run(clone, check=True, capture_output=True)
        command = ["git", "-C", str(folder), "-c", "advice.detachedHead=false", "checkout", "--quiet", ref]
        subprocess.run(command, check=True, capture_output=True)

    def _setup_python(self, given: Mapping[str, str]) -> str:
        return f"Python {given['python-version']}: the one that is here is taken"

    def _cache(self, given: Mapping[str, str]) -> str:
        return f"{given['path']} is kept on GitHub alone"

    def _upload_artifact(self, given: Mapping[str, str]) -> None:
        source, target = self.workspace / given["path"], self.site.artifacts / given["name"]
        if source.is_dir():
            shutil.copytree(source, target)
        elif source.exists():
            target.mkdir()
            shutil.copy(source, target)
        elif given.get("if-no-files-found") != "ignore":
            raise FileNotFoundError(f"no {given['path']} to upload")

    def _download_artifact(self, given: Mapping[str, str]) -> None:
        shutil.copytree(self.site.artifacts / given["name"], self.workspace / given["path"])

    def _github_codeql_action_upload_sarif(self, given: Mapping[str, str]) -> str:
        if json.loads((self.workspace / given["sarif_file"]).read_text(encoding="utf-8"))["version"] != "2.1.0":
            raise FileNotFoundError("not SARIF 2.1.0")
        return "needs code scanning"

    def _deploy_pages(self, given: Mapping[str, str]) -> str:
        if not list((self.site.artifacts / "github-pages").glob("*.tar")):
            raise FileNotFoundError("no page to publish")
        return "needs GitHub Pages"
