"""The last two entries of braidcheck's JSON files: the schema, and the SHA-256 of all other text.

White space between entries is ignored, so a file may be reformatted. Files from before checksums existed have neither
entry and are still read. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|\s+')
_END = re.compile(r',"schema":"(?P<schema>[a-z -]+ [0-9]+)","checksum":"sha256:(?P<sum>[0-9a-f]{64})"\}\Z')
_ENTRIES = ("schema", "checksum")


def seal(text: str, schema: str) -> str:
    """``text``, a JSON object that is not empty, with the two entries added; ``schema`` is a name and a number, such as
    "run 2"."""
    body = text.rstrip().removesuffix("}").rstrip()
    entries = f',\n "schema": "{schema}",\n "checksum": "sha256:{_sum(_compact(body), schema)}"'
    return body + entries + text[len(body) :]


def opened(text: str, schema: str) -> dict[str, Any]:
    """The other entries of a file that was sealed with ``schema``, or of an older file without checksum.

    Raises ValueError, in one line, for text that is not a JSON object, was changed, or has another schema.
    """
    try:
        body = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(body, dict):
        raise ValueError("it is not a JSON object")
    if body.keys() & set(_ENTRIES):
        compact = _compact(text)
        end = _END.search(compact)
        if not end or _sum(compact[: end.start()], end["schema"]) != end["sum"]:
            raise ValueError("it was changed after it was written (checksum differs)")
        if end["schema"] != schema:
            raise ValueError(f"it is a {end['schema']}, not a {schema}")
    return {key: value for key, value in body.items() if key not in _ENTRIES}


def is_sealed(text: str) -> bool:
    """Whether a file claims to carry a checksum."""
    return _END.search(_compact(text)) is not None


def _compact(text: str) -> str:
    return _SPACE.sub(r"\1", text)


def _sum(body: str, schema: str) -> str:
    return hashlib.sha256(f"{schema}\n{body}".encode(errors="surrogatepass")).hexdigest()
