"""``braidcheck config``: the settings and where they come from; and the option defaults that commands take from
them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from braidcheck.config import KEYS, Source, Value, resolve
from braidcheck.report.terminal import console


def defaults() -> dict[str, dict[str, object]]:
    """For each command, the option defaults that environment and table set. Raises UserError."""
    tables: dict[str, dict[str, object]] = {}
    for name, value in resolve(Path.cwd()).items():
        if value.source != Source.DEFAULT and name != "ops":  # which ``external_ops`` finds
            for command in KEYS[name].commands:
                tables.setdefault(command, {})[name] = value.value
    return tables


def from_command_line(context: typer.Context, name: str) -> bool:
    """Whether the parameter was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def config(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND OPTIONS...]", help="such as: gate -k fence")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
) -> int:
    """Show each key's value and where it comes from: command line, environment, the table tool.braidcheck in
    pyproject.toml, default. With a command and its options: the values that this call would use."""
    values = resolve(Path.cwd())
    if words:
        values = _called(context, words, values)
    rows = [
        {"key": name, "value": value.value, "source": str(value.source), "place": value.place}
        for name, value in values.items()
    ]
    if as_json:
        print(json.dumps({"config": rows}, indent=1))
        return 0
    table = Table("key", "value", "from", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(row["key"], _shown(row["value"]), ": ".join(filter(None, (row["source"], row["place"]))))
    console().print(table)
    return 0


def _called(context: typer.Context, words: list[str], values: Mapping[str, Value]) -> dict[str, Value]:
    """The values of the keys that the command reads, including the options of this call. Raises click's usage error."""
    root = context.find_root()
    name, command, rest = root.command.resolve_command(root, words)
    call = command.make_context(name, rest, parent=root)
    options = {}
    for key in KEYS.values():
        if name in key.commands:
            value = from_command_line(call, key.name)
            options[key.name] = Value(_plain(call.params[key.name]), Source.COMMAND_LINE) if value else values[key.name]
    return options


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(value)
    return "" if value is None else str(value)
