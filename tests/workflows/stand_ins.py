"""Stands in for commands that cannot run in a rehearsal: ``gh`` answers from a folder, ``python3 -m nox`` and ``pip``
say what was not rehearsed and leave the files that the real ones would. All other Python is the real one, and does not
come here.

    stand_ins.py gh|python3 WORDS...
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # for a Run, which few of the many calls make

FOLDER = Path(os.environ["REHEARSAL"])  # what this GitHub knows: pulls.json, artifact.zip, comments.json, issues.json
HELP = {  # others: by their name
    "gpu_tests": ["braidcheck", "gate"],
    "calibrate": ["tools.calibration.calibrate"],
    "fuzz": ["tools.fuzz_ops"],
}
OF_A_GPU = ("gpu_tests", "calibrate")


def python3(words: list[str]) -> int:
    """nox and pip, the only modules that ``python3`` is stood in for."""
    return nox(words[2:]) if words[1] == "nox" else not_rehearsed("nothing is installed")


def nox(words: list[str]) -> int:
    """A session: it and its options must exist; it leaves what the real one would."""
    (flag, session, *more), given = words, []
    if "--" in more:
        at = more.index("--")
        more, given = more[:at], more[at + 1 :]
    if flag != "-s" or not re.search(rf"^def {session}\(session", Path("noxfile.py").read_text(), re.MULTILINE):
        sys.exit(f"no session {session}")
    needs_gpu = session in OF_A_GPU or given[:2] == ["--lane", "gpu"]
    if os.environ.get("REHEARSE_ALL") and not needs_gpu:
        return subprocess.run(["nox", "-s", session, "--", *given], check=False).returncode
    if unknown := [word for word in given if word.startswith("--") and word not in options(session)]:
        sys.exit(f"{session} has no {', '.join(unknown)}")
    leave(session, given)
    why = "needs a GPU" if needs_gpu else "takes minutes of this CPU; --all runs it"
    return not_rehearsed(f"{why}: nox -s {' '.join([session, *given])}")


def options(session: str) -> str:
    """What the command of a session says of its options, asked once a rehearsal."""
    kept = FOLDER / f"{session}.help"
    if not kept.exists():
        # In colours, which a terminal gets and GitHub, the names would be in pieces.
        env = {key: value for key, value in os.environ.items() if key != "GITHUB_ACTIONS"} | {"COLUMNS": "200"}
        command = [sys.executable, "-m", *HELP.get(session, ["braidcheck", session]), "--help"]
        put(kept, subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout)
    return kept.read_text(encoding="utf-8")


def leave(session: str, given: list[str]) -> None:
    """The files that the real session would leave."""
    if session in ("gate", "gpu_tests"):
        lane = "gpu" if session == "gpu_tests" else "interpret"
        from braidcheck.report import markdown

        out, run = Path("braidcheck-out"), made(lane)
        put(out / "run.json", run.to_json())
        put(out / "summary.md", markdown.render(run))
    if session == "docs":
        put(Path("braidcheck-out/site/html/index.html"), "<html>the site</html>")
    if session == "engines":
        put(Path("braidcheck-out/engines/ctranslate2-int8/run.json"), made("interpret").to_json())
    if session == "protect":
        put(Path("braidcheck-out/protection/summary.md"), "PASS")
    for option, name in (("--save", ""), ("--out", "calibration.json")):
        if option in given:
            put(Path(given[given.index(option) + 1]) / name, "{}")


def put(path: Path, text: str) -> None:
    """Write a file and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def made(lane: str) -> Any:
    """A Run as small as can be."""
    from braidcheck.result import Run, Status, Verdict

    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    environment = {"started": os.environ["STARTED"], "commit": commit, "processor": "rehearsed", "seconds": 1.0}
    metrics = {"value": 3.5, "limit": 1.0, "unit": "error ratio", "lane": lane}
    slow = Verdict("accuracy", "rms_norm[a]", Status.FAIL, "3.5 of the bound is used", **metrics)
    timed = Verdict("timing", "rms_norm[512 tokens]", Status.PASS, "timed", value=4.0, unit="us", lane=lane)
    return Run(environment, (slow.id, timed.id), (slow, timed))


def not_rehearsed(why: str) -> int:
    """Say in the rehearsal's own words what was not done."""
    with open(os.environ["NOT_REHEARSED"], "a") as file:
        print(why, file=file)
    return 0


def gh(words: list[str]) -> int:
    """The calls of ``gh`` that the workflows make; any other is an error."""
    if not os.environ.get("GH_TOKEN"):
        sys.exit("gh: no GH_TOKEN")
    fields = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word in ("-f", "-F"))
    options = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--")}
    jq = options.get("--jq")
    if words[0] == "issue":
        return issue(words, options, jq)
    method = options.get("--method", "GET")
    path = next(word for word in words if word.startswith("repos/")).split("?")[0].split("/", 3)[3]
    if path == "pulls":
        return say([pull for pull in read("pulls") if pull["head"]["label"] == fields["head"]], jq)
    if path.endswith("/artifacts"):
        found = FOLDER / "artifact.zip"
        known = [{"id": 5, "size_in_bytes": found.stat().st_size}] if found.exists() else []
        return say({"artifacts": known}, jq)
    if path.endswith("/zip"):
        sys.stdout.buffer.write((FOLDER / "artifact.zip").read_bytes())
        return 0
    if "/comments" in path and method == "GET":
        return say(read("comments"), jq)
    body = Path(fields["body"].removeprefix("@")).read_text(encoding="utf-8")
    comment = {"id": 9, "user": {"login": "github-actions[bot]"}, "body": body}
    if method == "PATCH" and path == "issues/comments/9":
        return write("comments", [comment])
    if method == "POST" and re.fullmatch(r"issues/\d+/comments", path):
        return write("comments", [*read("comments"), comment])
    sys.exit(f"gh: {method} {path} is not known here")


def issue(words: list[str], options: dict[str, str], jq: str | None) -> int:
    """List, open or answer issues."""
    known = read("issues")
    if words[1] == "list":
        return say(known, jq)
    if words[1] == "create":
        return write("issues", [*known, {"number": 1, "title": options["--title"], "said": [options["--body"]]}])
    (one,) = (issue for issue in known if str(issue["number"]) == words[2])
    one["said"].append(options["--body"])
    return write("issues", known)


def say(value: object, jq: str | None) -> int:
    """Print JSON, through jq where gh would filter it with its own."""
    return subprocess.run(["jq", "-r", jq or "."], input=json.dumps(value), text=True, check=False).returncode


def read(name: str) -> list[dict]:
    """What is known under a name."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def write(name: str, value: list[dict]) -> int:
    """Keep what is known under a name."""
    put(FOLDER / f"{name}.json", json.dumps(value))
    return 0


if __name__ == "__main__":
    raise SystemExit({"gh": gh, "python3": python3}[sys.argv[1]](sys.argv[2:]))
