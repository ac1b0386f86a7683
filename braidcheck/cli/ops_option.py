"""The option ``--ops`` of all commands that work on ops."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from braidcheck import external_ops

Command = Callable[..., int]
Ops = Annotated[
    list[str] | None,
    typer.Option("--ops", metavar="PLACE", help="also the ops of this file, folder or module; may be repeated"),
]


def with_ops(command: Command) -> Command:
    """``command`` with the option; it then finds the ops that the option and the surrounding project name."""

    @functools.wraps(command)
    def run(*args: Any, ops: list[str] | None = None, **kwargs: Any) -> int:
        with external_ops.announced(ops or ()):
            return command(*args, **kwargs)

    option = inspect.Parameter("ops", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Ops)
    parameters = [*inspect.signature(command, eval_str=True).parameters.values(), option]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
