"""A project's settings: keys that are read from the environment and from ``[tool.braidcheck]``. Each key is an option
of some commands. The command line overrides the environment, which overrides the nearest pyproject.toml, which
overrides the default. No key is a tolerance: tolerances are derived in each op's oracle. Standard library only.
"""

from __future__ import annotations

import difflib
import math
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from braidcheck.errors import UserError

FILE, TABLE = "pyproject.toml", "[tool.braidcheck]"
MIN_LIKENESS = 0.7  # minimum difflib similarity of two names to suggest one for the other
LANED = ("gate", "mutants", "sensitivity", "soak", "soak-models")  # commands that run kernels in a lane


class Kind(StrEnum):
    """What a value must be, as messages say it."""

    TEXT = "a string"
    PATH = "a path"  # relative to the project's folder in the table, elsewhere to the working directory
    PLACE = "a name or a path"  # a path if something exists there
    COUNT = "a whole number"
    NUMBER = "a number"
    NAMES = "a list of strings"


class Source(StrEnum):
    """Sources of a value, in order of precedence."""

    COMMAND_LINE = "command line"
    ENVIRONMENT = "environment"
    TABLE = "table"
    DEFAULT = "default"


@dataclass(frozen=True)
class Key:
    """One key. ``protected``: it can change what runs or what passes, so changing it needs a reviewer;
    ``minimum`` and ``choices`` bound its values; ``commands`` are those that read it."""

    name: str
    kind: Kind
    help: str
    default: Any = None
    commands: tuple[str, ...] = ("gate",)
    minimum: float | None = None
    choices: tuple[str, ...] = ()
    protected: bool = True
    option: str = ""

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"BRAIDCHECK_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return self.option or f"--{self.name.replace('_', '-')}"

    @property
    def expected(self) -> str:
        """What a value must be."""
        bound = f" of at least {self.minimum:g}" if self.minimum is not None else ""
        return f"one of {', '.join(self.choices)}" if self.choices else f"{self.kind}{bound}"


@dataclass(frozen=True)
class Value:
    """The value of a key and its source: ``place`` is the name of the variable or file."""

    value: Any
    source: Source = Source.DEFAULT
    place: str = ""


WITH_OPS = (*LANED[:4], "check", "list", "static", "bench")
KEYS = {
    key.name: key
    for key in (
        Key("ops", Kind.NAMES, "files, folders or modules that declare ops; a gate runs those of the table",
            (), WITH_OPS),
        Key("gates", Kind.NAMES, "the gates to run; all of them if empty", (), option="--gate"),
        Key("lane", Kind.TEXT, "where kernels run; auto takes the GPU if there is one", "auto", LANED,
            choices=("auto", "interpret", "gpu")),
        Key("workers", Kind.COUNT, "processes; one per core if unset", None, (*LANED, "protect"), 1, protected=False),
        Key("out", Kind.PATH, "the folder for results", "braidcheck-out", ("gate", "merge"),
            protected=False),
        Key("budget", Kind.NUMBER, "time budget of a run in minutes; what does not fit is skipped; no limit if unset",
            minimum=0),
        Key("against", Kind.TEXT, "the commit that kernels are timed against; the merge-base if empty", ""),
        Key("minutes", Kind.NUMBER, "time budget in minutes for timing against a commit", 20.0, minimum=1),
        Key("tests", Kind.PATH, "a folder of tests; those marked gpu run on a GPU"),
        Key("functions", Kind.NAMES, "functions of this project for check --all, each with its op, as "
            "OP=FUNCTION or OP(CONVENTIONS)=FUNCTION", (), ("check",)),
        Key("model", Kind.PLACE, "nano, a checkpoint's folder or a hub id", "nano"),
        Key("revision", Kind.TEXT, "the revision of a hub id"),
        Key("dataset", Kind.PLACE, "corpus, wikitext or a path", "corpus"),
        Key("engine", Kind.PLACE, "FILE.py:factory or package.module:factory; gates your own engine instead of ops",
            ""),
        Key("engine_python", Kind.PLACE, "the Python that has the engine; this one if empty", ""),
        Key("engine_timeout", Kind.NUMBER, "time limit in seconds for the factory and requests", 120.0, minimum=0.1),
        Key("engine_memory", Kind.NUMBER, "memory limit in GiB; 80% of the free memory if 0", 0.0, minimum=0),
        Key("model_name", Kind.TEXT, "the model's name on a server", ""),
    )
}  # fmt: skip
COMMANDS = frozenset(command for key in KEYS.values() for command in key.commands)


def file_of(folder: Path) -> Path | None:
    """The pyproject.toml of the project around ``folder``: the nearest."""
    files = (one / FILE for one in (folder, *folder.parents))
    return next((file for file in files if file.is_file()), None)


def read_table(file: Path | None) -> dict[str, Any]:
    """The table of a pyproject.toml, validated; empty if there is none. Raises UserError in one line."""
    if file is None or not file.exists():
        return {}
    try:
        tools = tomllib.loads(file.read_text("utf-8")).get("tool", {})
        table = tools.get("braidcheck", {}) if isinstance(tools, dict) else {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(table, dict):
        raise UserError(f"{file}: tool.braidcheck is {_described(table)}, must be a table")
    for name, value in table.items():
        _check_named(name, f"{file}: {TABLE}")
        _check(KEYS[name], value, f"{file}: {name} of {TABLE}")
    if "://" in str(table.get("engine", "")):  # keys go there: no pull request may choose it
        raise UserError(f"{file}: engine in {TABLE} is an address; give it by --engine or {KEYS['engine'].variable}")
    return table


def resolve(folder: Path, environment: Mapping[str, str] | None = None) -> dict[str, Value]:
    """The value of each key for a call from ``folder``, without its command line. Raises UserError.

    Paths of the table are made relative to ``folder``, but for ``ops``, which are looked for in the project's folder.
    """
    file = file_of(folder)
    table = read_table(file)
    values = {}
    variables = os.environ if environment is None else environment
    for key in KEYS.values():
        values[key.name] = Value(key.default)
        if text := variables.get(key.variable, ""):
            values[key.name] = Value(_parse(key, text), Source.ENVIRONMENT, key.variable)
        elif file and key.name in table:
            values[key.name] = Value(_from(folder, file.parent, key, table[key.name]), Source.TABLE, str(file))
    return values


def protected(project: Path) -> dict[str, object]:
    """The keys in a project's table that can change what runs or what passes. Raises UserError."""
    return {name: value for name, value in read_table(project / FILE).items() if KEYS[name].protected}


def markdown() -> str:
    """The keys as a Markdown table, as docs/configuration.md has it between its markers."""
    rows = ["| key | value | default | option | variable | what it is |", "|---|---|---|---|---|---|"]
    for key in KEYS.values():
        default = "" if key.default in (None, "", ()) else f"`{key.default}`"
        cells = (f"`{key.name}`", key.expected, default, f"`{key.flag}`", f"`{key.variable}`", key.help)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def nearest(name: str, names: Iterable[str]) -> str:
    """A question with the name that was probably meant; empty if none is similar to ``name``."""
    like = difflib.get_close_matches(name, list(names), 1, MIN_LIKENESS)
    return f"; did you mean {like[0]}?" if like else ""


def _check_named(name: str, where: str) -> None:
    if name not in KEYS:
        meant = nearest(name, KEYS) or f"; the keys are {', '.join(KEYS)}"
        raise UserError(f"{where} has no key {name!r}{meant}")


def _check(key: Key, value: Any, where: str) -> None:
    """Raise UserError for a value that the key cannot have."""
    fits = {
        Kind.COUNT: isinstance(value, int),
        Kind.NUMBER: isinstance(value, int | float) and abs(value) < math.inf,
        Kind.NAMES: isinstance(value, list) and all(isinstance(one, str) and one for one in value),
    }.get(key.kind, isinstance(value, str)) and not isinstance(value, bool)
    if fits and key.minimum is not None:
        fits = value >= key.minimum
    if not fits or (key.choices and value not in key.choices):
        raise UserError(f"{where} is {_described(value)}, must be {key.expected}")


def _described(value: Any) -> str:
    kinds = {str: Kind.TEXT, bool: "a boolean", int: Kind.COUNT, float: Kind.NUMBER, list: "a list", dict: "a table"}
    kind = kinds.get(type(value), type(value).__name__)
    return str(kind) if isinstance(value, dict) else f"{value!r}, {kind}"


def _parse(key: Key, text: str) -> Any:
    """The value that an environment variable holds; lists have commas."""
    read = {Kind.COUNT: int, Kind.NUMBER: float, Kind.NAMES: lambda one: [word for word in one.split(",") if word]}
    try:
        value = read.get(key.kind, str)(text)  # type: ignore[operator]
    except ValueError:
        value = text
    _check(key, value, key.variable)
    return value


def _from(folder: Path, project: Path, key: Key, value: Any) -> Any:
    """A value of the table, with paths relative to ``folder``."""
    is_path = key.kind == Kind.PATH or (
        key.kind == Kind.PLACE and value != key.default and (project / value.split(":")[0]).exists()
    )
    return os.path.relpath(project / value, folder) if is_path else value
