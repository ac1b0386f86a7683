"""The accepted resource use of kernels: one file per Triton version (standard library only)."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from braidcheck import checksum, environment
from braidcheck.errors import UserError
from braidcheck.result import write_atomically

FOLDER = Path(__file__).parent / "baselines"
EXCEPTIONS = Path(__file__).parent / "exceptions.toml"
FORMAT = 1
SCHEMA = "static baseline 1"
NAMES = ("op", "target", "kernel", "configuration")  # the key of a row
SEPARATOR = " | "
LEFT_OUT = (*NAMES, "shared_limit", "bytes", "flops")  # the entries of a row that are not from the compiler


def read(triton: str) -> list[Mapping[str, Any]] | None:
    """The accepted rows of this Triton version; None if there are none.

    Raises UserError for a file that is not a baseline of this format.
    """
    file = _file(triton)
    if not file.exists():
        return None
    try:
        body = checksum.opened(file.read_text(encoding="utf-8"), SCHEMA)
        if body["format"] == FORMAT:
            return [dict(zip(NAMES, key.split(SEPARATOR), strict=True), **row) for key, row in body["rows"].items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UserError(f"{file} is not a baseline of format {FORMAT}; make it again with: braidcheck static --accept")


def excused(triton: str) -> dict[tuple[str, ...], str]:
    """Why configurations may spill under this Triton version, by the row's key, from ``exceptions.toml``."""
    with EXCEPTIONS.open("rb") as file:
        return {tuple(key.split(SEPARATOR)): reason for key, reason in tomllib.load(file).get(triton, {}).items()}


def accept(evidence: Mapping[str, Any], ops: Sequence[str] = ()) -> Path:
    """Accept ``evidence`` as the baseline of its Triton version; with ``ops``, only for these. Returns its path. Raises
    UserError if a kernel did not compile, or the file cannot be written.
    """
    for row in evidence["rows"]:
        if "error" in row:
            raise UserError(f"{row['kernel']} of {row['op']} does not compile for {row['target']}: {row['error']}")
    file = _file(evidence["triton"])
    stay = [row for row in read(evidence["triton"]) or () if row["op"] not in ops] if ops and file.exists() else []
    lines = {
        SEPARATOR.join(row[name] for name in NAMES): {k: v for k, v in row.items() if k not in LEFT_OUT}
        for row in (*stay, *evidence["rows"])
    }
    # One line per row, for readable diffs in reviews.
    rows = ",\n".join(f"  {json.dumps(key)}: {json.dumps(line)}" for key, line in sorted(lines.items()))
    head = {"format": FORMAT, "triton": evidence["triton"], "commit": environment.commit()}
    try:
        write_atomically(file, checksum.seal(f'{json.dumps(head)[:-1]}, "rows": {{\n{rows}\n}}}}\n', SCHEMA))
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}; run this in a writable source tree") from None
    return file


def _file(triton: str) -> Path:
    return FOLDER / f"triton-{triton}.json"
