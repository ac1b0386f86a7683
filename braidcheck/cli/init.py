"""``braidcheck init``: writes what a repository needs to gate its kernels. Existing files are kept."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

import braidcheck
from braidcheck import config, external_ops
from braidcheck.ci.paired import worktrees
from braidcheck.cli.new import skeleton
from braidcheck.cli.repository import Repository, find, read
from braidcheck.errors import UserError
from braidcheck.result import write_atomically

TEMPLATES = Path(__file__).with_name("templates")
OPS, FIRST_OP = "braidcheck_ops", "scaled_silu"
RESULTS = f"{config.KEYS['out'].default}/"
PIN = re.compile(r"\bbraidcheck==([\w.+!-]+)")
SESSION = re.compile(r"^def braidcheck\(", re.MULTILINE)


@dataclass(frozen=True)
class File:
    """A planned file: its ``path``, its whole new text, and ``what`` was added; the text is None if nothing is to be
    written, which ``what`` explains."""

    path: Path
    text: str | None
    what: str


def init(
    gpu: Annotated[bool, typer.Option("--gpu", help="also a workflow for a self-hosted runner with a GPU")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="write nothing; exit 1 if anything is missing or out of date")
    ] = False,
) -> int:
    """Set up the gates in this repository: a table in pyproject.toml, a first op, a workflow for pull requests, and a
    session in the noxfile if there is one. Existing files are kept."""
    repository = find(Path.cwd())
    print(f"found {repository.described()}")
    plan = list(_plan(repository, gpu))
    if check:
        return _check(repository, plan)
    for file in plan:
        name = _name(repository, file.path)
        if file.text is None:
            print(f"kept {name}: {file.what}")
            continue
        try:
            write_atomically(file.path.resolve(), file.text)
        except OSError as error:
            raise UserError(f"cannot write {file.path}: {error.strerror}; files written before are complete") from None
        print(f"wrote {name}: {file.what}")
    for command in _known(repository):
        print(f"braidcheck has an op of that name; check yours against its cases: {command}")
    print("run the gate: braidcheck gate" + (", or nox -s braidcheck" if repository.noxfile else ""))
    if not repository.ignores(RESULTS):
        print(f"its results go to {RESULTS}, which git does not ignore: add it to .gitignore")
    return 0


def _plan(repository: Repository, gpu: bool) -> Iterator[File]:
    """The files in writing order: the first op before the table, which names it."""
    pyproject = repository.project / config.FILE
    if not config.read_table(pyproject):
        if not repository.ops:
            yield _new(repository.project / OPS / f"{FIRST_OP}.py", skeleton(FIRST_OP), _first_op(repository))
        yield _with_table(pyproject, list(repository.ops) or [OPS])
    else:
        yield File(pyproject, None, f"it has {config.TABLE}")
    yield from _with_session(repository)
    workflows = repository.root / ".github" / "workflows"
    yield _new(workflows / "braidcheck.yml", _rendered("braidcheck.yml", repository), "a gate for pull requests")
    if gpu:
        text = _rendered("braidcheck-gpu.yml", repository)
        yield _new(workflows / "braidcheck-gpu.yml", text, "a gate on your GPU; its first lines say what to set up")


def _first_op(repository: Repository) -> str:
    kernels = [f"{name} of {file}" for file, names in repository.kernels.items() for name in names]
    instead = f"call {kernels[0]} in it" if kernels else "put your kernel into it"
    return f"a working op; {instead}, with its reference and cases"


def _known(repository: Repository) -> Iterator[str]:
    """The commands that check functions against the cases of braidcheck's op of the same name."""
    known = worktrees.ops(worktrees.REPOSITORY)
    for file, names in repository.kernels.items():
        yield from (f"braidcheck check {name} {file}:{name}" for name in names if name in known)


def _new(path: Path, text: str, what: str) -> File:
    return File(path, None, "it exists") if path.exists() else File(path, text, what)


def _rendered(name: str, repository: Repository) -> str:
    """A template filled in for this repository; placeholders occur once or in quotes."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    words = {
        "VERSION INSTALL": " ".join(("VERSION", *repository.install)),
        "VERSION": braidcheck.__version__,
        '"BRANCH"': _quoted(repository.branch),
        '"FOLDER"': _quoted(repository.folder),
        '"FOLDER/braidcheck-out/"': _quoted(f"{repository.folder}/braidcheck-out/"),
    }
    for word, instead in words.items():
        text = text.replace(word, instead)
    return text


def _with_table(path: Path, ops: list[str]) -> File:
    """pyproject.toml with the table appended. Raises UserError if that would change more than the table."""
    before = read(path) if path.exists() else ""
    added = f"{config.TABLE}\nops = [{', '.join(map(_quoted, ops))}]\n"
    text = _appended(before, added, "\n")
    tables = tomllib.loads(before)
    try:
        tables.setdefault("tool", {})["braidcheck"] = {"ops": ops}
        same = tomllib.loads(text) == tables
    except (ValueError, TypeError):  # not valid TOML, or tool is not a table
        same = False
    if not same:
        raise UserError(f"cannot append a table to {path}; add to it: {config.TABLE} ops = {ops}")
    return File(path, text, f"{config.TABLE} at the end")


def _quoted(text: str) -> str:
    """The string as TOML and YAML quote it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _with_session(repository: Repository) -> Iterator[File]:
    """The noxfile with a session appended, if there is a noxfile."""
    path = repository.noxfile
    if path is None:
        return
    before = read(path)
    if SESSION.search(before):
        yield File(path, None, "it has a session braidcheck")
        return
    arguments = "".join(f', "{word}"' for word in repository.install)
    added = (TEMPLATES / "nox_session.txt").read_text(encoding="utf-8").lstrip("\n")
    added = added.replace("VERSION", braidcheck.__version__).replace("ARGUMENTS", arguments)
    text = _appended(before, added, "\n\n")
    try:
        imported = {
            alias.asname or alias.name
            for node in ast.parse(text).body
            if isinstance(node, ast.Import)
            for alias in node.names
        }
    except SyntaxError:
        imported = set()
    if "nox" in imported:
        yield File(path, text, "a session braidcheck")
    else:
        yield File(path, None, "it does not import nox at the top; run braidcheck gate in your own session")


def _appended(before: str, added: str, gap: str) -> str:
    """The text with ``added`` appended after a ``gap`` of lines, with the text's line endings."""
    line_end = "\r\n" if "\r\n" in before else "\n"
    text = before if not before or before.endswith("\n") else before + line_end
    return text + ((gap if before else "") + added).replace("\n", line_end)


def _check(repository: Repository, plan: list[File]) -> int:
    """Report what is missing, not gated or of another version; 1 if anything is."""
    problems = [f"missing: {_name(repository, file.path)}: {file.what}" for file in plan if file.text is not None]
    problems += _not_gated(repository) if config.read_table(repository.project / config.FILE) else []
    workflows = sorted((repository.root / ".github" / "workflows").glob("braidcheck*.yml"))
    for path in filter(None, (repository.noxfile, *workflows)):
        for version in sorted(set(PIN.findall(read(path))) - {braidcheck.__version__}):
            here = f"it has braidcheck {version}, installed is {braidcheck.__version__}"
            problems.append(f"out of date: {_name(repository, path)}: {here}")
    print("\n".join(problems) or f"everything is present and of braidcheck {braidcheck.__version__}")
    return 1 if problems else 0


def _not_gated(repository: Repository) -> Iterator[str]:
    """Declared ops that the table does not name, and names in the table that do not exist."""
    try:
        with external_ops.announced(folder=repository.project):
            named = {Path(one.root, *one.module.split(".")) for one in external_ops.declared()}
    except UserError as error:
        yield f"out of date: {config.FILE}: {error}"
        return
    if not config.read_table(repository.project / config.FILE).keys() & {"ops", "engine"}:
        yield f"not gated: {config.TABLE} names neither ops nor an engine"
        return
    for name in repository.ops:
        path = (repository.project / name).with_suffix("")
        if (path.parent if path.name == "__init__" else path) not in named:
            yield f"not gated: {name} declares an op; name it in ops of {config.TABLE}"


def _name(repository: Repository, path: Path) -> str:
    return path.relative_to(repository.root).as_posix()
