"""``braidcheck new``: writes a working skeleton to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braidcheck.ci.paired import worktrees
from braidcheck.errors import UserError
from braidcheck.result import write_atomically

SKELETON = Path(__file__).with_name("templates") / "op.txt"
app = typer.Typer(help="Write a working skeleton: new op NAME.", add_completion=False)


@app.callback()
def new() -> None:
    """Keep ``op`` a subcommand."""


@app.command("op")
def op(
    name: Annotated[str, typer.Argument(help="of the op and its function")],
    folder: Annotated[Path, typer.Option(help="folder for NAME.py")] = Path("."),
) -> int:
    """Write NAME.py: an op with a kernel, a reference, a derived bound, cases and equivalent implementations."""
    file = folder / f"{name}.py"
    if not name.isidentifier() or not name.islower():
        raise UserError(f"an op's name must be a Python name in lower case, not {name!r}")
    if name in worktrees.ops(worktrees.REPOSITORY):
        raise UserError(f"braidcheck already has an op {name}; choose another name")
    if file.exists():
        raise UserError(f"{file} exists already; choose another name or --folder")
    if not folder.is_dir():
        raise UserError(f"--folder {folder}: no such folder")
    write_atomically(file, skeleton(name))
    print(f"wrote {file}; run it with: braidcheck gate --ops {file} --op {name}")
    return 0


def skeleton(name: str) -> str:
    """The source of an op of this name."""
    return SKELETON.read_text(encoding="utf-8").replace("NAME", name)
