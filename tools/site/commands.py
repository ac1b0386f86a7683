"""The page of the command line, generated from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from braidcheck.cli import COMMANDS, load
from tools.site.markdown import code, table

HEAD = """# Commands

What `braidcheck COMMAND --help` says, of every command. Exit codes: 0 every gate that ran passed, 1 a gate failed, 2 a
usage error, 3 an error, an inconclusive verdict or nothing that could be evaluated, 130 interrupted.
"""


def commands() -> dict[str, Any]:
    """Every command by the words that call it, a group's own commands in its place."""
    return {words: one for name in COMMANDS for words, one in _walk(load(name), f"braidcheck {name}")}


def page() -> str:
    """All commands with their arguments and options."""
    return "\n".join((HEAD, *(_section(words, command) for words, command in commands().items())))


def _walk(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", {})
    if not inner:
        yield words, command
    for name, one in inner.items():
        yield from _walk(one, f"{words} {name}")


def _section(words: str, command: Any) -> str:
    takes = [one for one in command.params if one.name != "help" and not getattr(one, "hidden", False)]
    arguments = [one for one in takes if one.param_type_name == "argument"]
    options = [one for one in takes if one.param_type_name == "option"]
    usage = " ".join((words, *(_metavar(one) for one in arguments), "[OPTIONS]"))
    return "\n".join(
        (
            f"## {words}\n",
            f"    {usage}\n",
            f"{' '.join((command.help or '').split())}\n",
            table(("argument", "meaning"), [(code(one.name.upper()), _help(one)) for one in arguments]),
            table(("option", "meaning", "default"), [_option(one) for one in options]),
        )
    )


def _metavar(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> tuple[str, str, str]:
    names = ", ".join(code(name) for name in (*option.opts, *option.secondary_opts))
    return names, _help(option), _default(option)


def _help(one: Any) -> str:
    return " ".join((one.help or "").split())


def _default(option: Any) -> str:
    value = option.default() if callable(option.default) else option.default
    if value in (None, "", (), [], False):
        return ""
    return code(str(getattr(value, "value", value)))
