"""Any OpenAI-compatible server as an engine: detects the server and speaks its dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from braidcheck.engines.http.client import Client, Limits
from braidcheck.engines.http.llama_cpp import LlamaCppServer
from braidcheck.engines.http.openai import OpenAiServer
from braidcheck.engines.http.server import Server, reading
from braidcheck.engines.http.sglang import SglangServer
from braidcheck.engines.http.vllm import VllmServer
from braidcheck.errors import CheckpointError, UserError

DIALECTS: dict[str, type[Server]] = {"vllm": VllmServer, "sglang": SglangServer, "llamacpp": LlamaCppServer}
"""By the model's owner in ``/v1/models``; any other server gets requests as OpenAI documents them."""

MAX_NAMES = 8  # served models that a message lists


def connect(url: str, model_name: str, directory: str, limits: Limits | None = None) -> Server:
    """The engine behind ``url`` (with its /v1) that serves ``model_name``, or its only model if that is empty. Raises
    UserError for an invalid address or name, ServerError if the server cannot be used.
    """
    client = Client(url, limits)
    with reading(client, "list of models"):
        served = {str(model["id"]): model for model in client.get("models")["data"]}
    model = _chosen(client, served, model_name)
    dialect = DIALECTS.get(str(model.get("owned_by")), OpenAiServer)
    server = dialect(client, model, Path(directory), _vocabulary_size(Path(directory)))
    server.drop_what_is_not_served()
    return server


def _chosen(client: Client, served: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    if name in served:
        return served[name]
    if not name and len(served) == 1:
        return next(iter(served.values()))
    names = ", ".join(sorted(served)[:MAX_NAMES]) or "none"
    raise UserError(f"{client.address} serves no model {name!r}: give --model-name one of {names}")


def _vocabulary_size(directory: Path) -> int:
    """The vocabulary size of the model that the server should have."""
    try:
        return int(json.loads((directory / "config.json").read_text(encoding="utf-8"))["vocab_size"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise CheckpointError(f"no checkpoint in {directory}: config.json: {error}") from None
