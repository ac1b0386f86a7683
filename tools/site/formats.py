"""The page of the format of a Run, generated from the types that readers check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import NoneType
from typing import Any

from braidcheck import result

NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", list: "array"}
NAMES |= {NoneType: "null"}
HEAD = f"""# The format of a Run

`braidcheck gate` writes `run.json`; every report, `merge`, `history` and `trend` read it. This is its JSON Schema, of
format {result.FORMAT}; format 1 is still read. The last two entries of the file are `schema` and `checksum`, a SHA-256
of all text before them. Infinite numbers and NaN are written as strings.

"""


def page() -> str:
    """The schema as a page."""
    return f"{HEAD}```json\n{json.dumps(schema(), indent=2)}\n```\n"


def schema() -> dict[str, Any]:
    """A Run as JSON Schema."""
    verdict = _object(result.VERDICT, ("gate", "subject", "status", "message"))
    verdict["properties"]["status"] = {"enum": [status.value for status in result.Status]}
    for name in ("value", "limit"):
        verdict["properties"][name]["type"].append("string")  # "inf", "-inf" and "nan"
    parts = {
        "format": {"const": result.FORMAT},
        "status": {"enum": [status.value for status in result.Status]},
        "exit_code": {"enum": [0, 1, 3]},
        "environment": _object(result.ENVIRONMENT),
        "expected": {"type": "array", "items": {"type": "string"}},
        "verdicts": {"type": "array", "items": verdict},
        "schema": {"const": result.SCHEMA},
        "checksum": {"type": "string"},
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "a braidcheck Run"}
    return {
        **head,
        "type": "object",
        "properties": parts,
        "required": ["format", "environment", "expected", "verdicts"],
    }


def _object(types: Mapping[str, tuple[type, ...]], required: tuple[str, ...] = ()) -> dict[str, Any]:
    properties = {name: {"type": [NAMES[kind] for kind in kinds]} for name, kinds in types.items()}
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}
