"""Rehearses the workflows without GitHub: their shell steps, in order, on a copy of this tree as it lies here.

    python3 tests/workflows/rehearse.py [--all]

What cannot run here is named with the reason; ``--all`` also runs the sessions that take minutes. Needs git, bash, jq.
Exit code 1 where a step fails, or where one that should fail does not.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import actions  # beside this file

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
EVIL = 'x"; touch owned; echo "$(touch owned)'  # a branch's and a title's name
TAGS = "</details><script>alert(1)</script><img src=x onerror=alert(1)> @everyone [x](https://evil.example) #1"
MORNING = "17 9 * * *"
ELSEWHERE = {"other-platforms": "needs macOS"}


class Rehearsal:
    """A make-believe GitHub in a folder, and what was surprising in it."""

    def __init__(self, folder: Path, everything: bool = False, say: Callable[[str], None] = print) -> None:
        self.folder, self.say, self.surprises = folder, say, []
        self.known = folder / "known"
        self.known.mkdir()
        self.remote, self.base, self.head = repository(folder)
        self.path = commands(folder)
        self.env = {"REHEARSAL": str(self.known), "PAUSE": "0", "STARTED": ""} | (
            {"REHEARSE_ALL": "1"} if everything else {}
        )

    def site(self, name: str, event: str, body: dict[str, Any], sha: str) -> actions.Site:
        """A fresh set of artifacts for one run of a workflow."""
        github = {"event_name": event, "event": {"repository": {"default_branch": "main"}, **body}, "sha": sha}
        github |= {"ref": "refs/heads/main", "repository": "o/r", "server_url": "https://github.example", "run_id": "7"}
        github |= {"token": "a token", "workflow": name}
        folder = self.folder / f"{name}-{len(list(self.folder.iterdir()))}"
        return actions.Site(folder, self.remote, github, self.path, self.env)

    def play(self, name: str, site: actions.Site, failing: str = "", story: str = "") -> None:
        """Run a workflow; the step named ``failing`` must fail, and no other."""
        self.say(f"{name}.yml: {story or site.github['event_name']}")
        workflow, failed = actions.load(WORKFLOWS / f"{name}.yml"), []
        for job in ELSEWHERE.keys() & workflow["jobs"].keys():
            del workflow["jobs"][job]
            self.say(f"  {job}: not rehearsed: {ELSEWHERE[job]}")

        def note(step: actions.Step) -> None:
            word = f"{step.status}, as it should" if step.status == "failed" and step.name == failing else step.status
            self.say(f"  {step.job} / {step.name}: {word}{f': {step.said}' if step.said else ''}")
            failed.extend([step.name] if step.status == "failed" else [])

        actions.run(workflow, site, note)
        wanted = [failing] if failing else []
        self.expect(failed == wanted, f"{name}.yml fails at {wanted}, not at {failed}")

    def expect(self, true: object, what: str) -> None:
        """Keep ``what`` as a surprise unless ``true``."""
        if not true:
            self.surprises.append(what)
            self.say(f"  SURPRISE, for this should hold: {what}")

    def comments(self) -> list[str]:
        """What was commented."""
        path = self.known / "comments.json"
        return [comment["body"] for comment in json.loads(path.read_text())] if path.exists() else []

    def history(self) -> int:
        """Runs on the data branch."""
        listed = git(self.remote, "ls-tree", "-r", "--name-only", "data")
        return len(listed.splitlines())


def git(folder: Path, *words: str) -> str:
    """What git says."""
    who = ["-c", "user.name=rehearsal", "-c", "user.email=rehearsal@localhost", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def repository(folder: Path) -> tuple[Path, str, str]:
    """A bare remote with this tree on main, and a pull request's branch; their commits. Without what no step reads, for
    every job checks it out: tests, a third of the files, and nano's tensors, half of the bytes."""
    remote, work = folder / "remote.git", folder / "work"
    git(folder, "init", "--quiet", "--bare", "--initial-branch", "main", str(remote))
    git(folder, "clone", "--quiet", str(remote), str(work))
    git(work, "commit", "--quiet", "--allow-empty", "-m", "the commit before")
    for name in git(ROOT, "ls-files", "-co", "--exclude-standard").splitlines():
        if (ROOT / name).is_file() and not name.startswith("tests/") and not name.endswith(".safetensors"):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, work / name)
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", "this tree")
    git(work, "push", "--quiet", "origin", "HEAD:main")
    with (work / "braidcheck" / "kernels" / "rms_norm" / "__init__.py").open("a") as kernel:
        kernel.write("# changed\n")
    git(work, "commit", "--quiet", "--all", "-m", "a change")
    git(work, "push", "--quiet", "origin", "HEAD:change")
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nif [ -e reject-once ]; then rm reject-once; exit 1; fi\n")
    hook.chmod(0o755)
    return remote, git(remote, "rev-parse", "main"), git(remote, "rev-parse", "change")


def commands(folder: Path) -> str:
    """A PATH on which ``gh`` is stood in for, and ``python3`` where it runs nox or pip."""
    place = folder / "bin"
    place.mkdir()
    stand_in = f'exec "{sys.executable}" "{HERE / "stand_ins.py"}"'
    other = f'case "$1 $2" in "-m nox" | "-m pip") ;; *) exec "{sys.executable}" "$@" ;; esac\n'
    for name, first in (("gh", ""), ("python3", other)):
        script = place / name
        script.write_text(f'#!/bin/sh\n{first}{stand_in} {name} "$@"\n')
        script.chmod(0o755)
    return f"{place}{os.pathsep}{os.environ['PATH']}"


def pull_request(rehearsal: Rehearsal) -> dict[str, Any]:
    """The event of a pull request whose every text is an attack."""
    asked = {"title": EVIL, "base": {"sha": rehearsal.base}, "head": {"sha": rehearsal.head, "ref": EVIL}}
    return {"pull_request": asked, "number": 4}


def ran(rehearsal: Rehearsal, name: str) -> dict[str, Any]:
    """The event that starts comment.yml."""
    known = {"id": 7, "name": name, "event": "pull_request", "conclusion": "success", "head_sha": rehearsal.head}
    known |= {"head_branch": EVIL, "head_repository": {"owner": {"login": "stranger"}}}
    pull = {"number": 4, "head": {"label": f"stranger:{EVIL}", "sha": rehearsal.head}}
    (rehearsal.known / "pulls.json").write_text(json.dumps([pull]))
    return {"workflow_run": known}


def comments(rehearsal: Rehearsal, run: bytes) -> None:
    """comment.yml with an honest artifact, twice, and with hostile ones."""

    def play(
        story: str, files: dict[str, bytes] | None, failing: str = "", packing: int = zipfile.ZIP_DEFLATED
    ) -> None:
        path = rehearsal.known / "artifact.zip"
        path.unlink(missing_ok=True)
        if files is not None:
            with zipfile.ZipFile(path, "w", packing) as made:
                for name, content in files.items():
                    made.writestr(name, content)
        site = rehearsal.site("comment", "workflow_run", ran(rehearsal, "gpu"), rehearsal.base)
        rehearsal.play("comment", site, failing, story)
        rehearsal.expect(not list(site.folder.rglob("owned")), "a branch's name is no command")

    body, hold, said = json.loads(run), "Hold it to the schema", rehearsal.comments
    for story in ("an honest artifact", "an honest artifact again"):
        play(story, {"run.json": run})
        rehearsal.expect(len(said()) == 1 and "3.5 of the bound" in said()[0], "one comment, with what failed")
    before = said()
    play("no artifact", None)
    play("a wrong schema", {"run.json": json.dumps(body | {"html": TAGS}).encode()}, hold)
    play("a Run that lies about its verdicts", {"run.json": json.dumps(body | {"status": "pass"}).encode()}, hold)
    play("a second file", {"run.json": run, "../../.bashrc": b"touch owned"}, hold)
    play("100 MB, packed small", {"run.json": b" " * 100_000_000}, hold)
    play("100 MB", {"run.json": b" " * 100_000_000}, "Fetch the artifact", zipfile.ZIP_STORED)
    rehearsal.expect(said() == before, "a refused artifact leaves the comment as it was")
    play("script tags in every string", {"run.json": json.dumps(tagged(body)).encode()})
    prose = re.sub(r"`[^`\n]*`", "", (said() or [""])[0].partition("\n")[2])
    rehearsal.expect(
        "script>" in prose and not re.search(r"<|@\w|://|#\d", prose), "hostile text is text in the comment"
    )


def tagged(body: dict[str, Any]) -> dict[str, Any]:
    """A Run with script tags in every text that the schema leaves free, without the seal that it breaks."""
    body = {name: value for name, value in body.items() if name not in ("schema", "checksum")}
    free = dict.fromkeys(("subject", "message", "unit", "reproduce"), TAGS[:100])
    verdicts = [verdict | free | {"metrics": {TAGS: TAGS, "blame": {"ops": [TAGS]}}} for verdict in body["verdicts"]]
    expected = [f"{verdict['lane']}/{verdict['gate']}/{verdict['subject']}" for verdict in verdicts]
    return body | {"verdicts": verdicts, "expected": expected, "environment": {TAGS: TAGS, "commit": TAGS}}


def nights(rehearsal: Rehearsal) -> None:
    """nightly.yml: a morning without a history, an old night, the morning that misses one, a night, its morning."""

    def play(story: str, schedule: str, failing: str = "", hours: float = 0) -> actions.Site:
        rehearsal.env["STARTED"] = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
        site = rehearsal.site("nightly", "schedule", {"schedule": schedule}, rehearsal.base)
        rehearsal.play("nightly", site, failing, story)
        return site

    issues = rehearsal.known / "issues.json"
    play("a morning before any night", MORNING, "actions/checkout")
    rehearsal.expect(len(json.loads(issues.read_text())) == 1, "a branch that is not there is reported")
    (rehearsal.remote / "reject-once").touch()
    play("a night, 30 hours ago, whose first push is rejected", "17 2 * * *", hours=30)
    rehearsal.expect(not (rehearsal.remote / "reject-once").exists(), "the first push was rejected")
    play("the morning after a night that was missed", MORNING, "Age of the newest Run")
    (issue,) = json.loads(issues.read_text())
    rehearsal.expect(len(issue["said"]) == 2, "a missed night is reported, in the issue that is open")
    play("a night", "17 2 * * *")
    rehearsal.expect(rehearsal.history() == 2, "two nights are two Runs on the data branch")
    play("its morning", MORNING)


def documentation(rehearsal: Rehearsal, nights: bool) -> None:
    """docs.yml on main: the site, and in it the trend page once there were ``nights``."""
    site = rehearsal.site("docs", "push", {}, rehearsal.base)
    rehearsal.play("docs", site, story="with a history" if nights else "before any night")
    with tarfile.open(site.artifacts / "github-pages" / "artifact.tar") as packed:
        names = {name.removeprefix("./"): name for name in packed.getnames()}
        rehearsal.expect("index.html" in names, "the site is published")
        rehearsal.expect(("trend/index.html" in names) == nights, "the trend page is of nights that were")
        page = packed.extractfile(names["trend/index.html"]) if nights and "trend/index.html" in names else None
        rehearsal.expect(not nights or (page and b"3.5" in page.read()), "the trend page shows the night")


def rehearse(folder: Path, everything: bool = False, say: Callable[[str], None] = print) -> list[str]:
    """Play all workflows in ``folder``; what was surprising."""
    rehearsal = Rehearsal(folder, everything, say)
    rehearsal.env["STARTED"] = datetime.now(UTC).isoformat()
    for name in ("gate", "gpu"):
        site = rehearsal.site(name, "pull_request", pull_request(rehearsal), rehearsal.head)
        rehearsal.play(name, site)
        rehearsal.expect((site.artifacts / "run" / "run.json").exists(), f"{name}.yml uploads its Run")
    comments(rehearsal, (site.artifacts / "run" / "run.json").read_bytes())
    documentation(rehearsal, nights=False)
    nights(rehearsal)
    documentation(rehearsal, nights=True)
    return rehearsal.surprises


def main() -> int:
    """Rehearse, and say how it went."""
    if missing := [name for name in ("git", "bash", "jq", "tar") if not shutil.which(name)]:
        print(f"this rehearsal needs {', '.join(missing)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        surprises = rehearse(Path(folder), "--all" in sys.argv[1:])
    print(
        f"FAIL: {'; '.join(surprises)}"
        if surprises
        else "PASS: every step did what it should; see above what was not rehearsed"
    )
    return bool(surprises)


if __name__ == "__main__":
    raise SystemExit(main())
