"""Finds the checkpoint directory and the golden for the names of a model and a text."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from braidcheck.errors import CheckpointError, NotAvailable, UserError
from braidcheck.golden import corpus, store
from braidcheck.golden.texts import load_text

HERE = Path(__file__).parent


def _nano_folder() -> Path:
    """The folder of nano and its golden: beside this file in a source tree, else in their own wheel."""
    data = None if (HERE / "nano").is_dir() else find_spec("braidcheck_nano")
    return Path(data.origin).parent if data and data.origin else HERE


NANO = _nano_folder() / "nano"
NANO_GOLDEN = NANO.parent / "nano_golden"
NANO_WHEEL = "braidcheck-nano"
UNAUTHORIZED, FORBIDDEN = 401, 403
PINNED = {"Qwen/Qwen3-0.6B": "c1899de289a04d12100db370d81485cdf75e47ca"}


def nano_version() -> str:
    """Where nano is installed and which version, as text; empty if it is not."""
    if not NANO.is_dir():
        return ""
    return "in the source tree" if NANO.parent == HERE else f"{NANO_WHEEL} {metadata.version(NANO_WHEEL)}"


def resolve(
    model: str = "nano",
    dataset: str | None = None,
    revision: str | None = None,
    device: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Path, store.Golden]:
    """The checkpoint directory and golden of ``model`` on ``dataset``; nano's ships, any other is recorded once.

    ``model`` is "nano", a directory or a hub id; ``dataset`` as `texts.load_text` takes it. The cache is
    BRAIDCHECK_CACHE, or braidcheck in the user's cache directory. Raises UserError, CheckpointError, GoldenError,
    or NotAvailable where the hub cannot be reached or nano is not installed.
    """
    checkpoint, commit = find_checkpoint(model, revision)
    if model == "nano" and dataset in (None, "corpus"):
        # Without `datasets`, which a GPU machine without network need not have.
        corpus_texts = {"text": [document.text for document in corpus.documents("heldout")]}
        return checkpoint, store.verify(NANO_GOLDEN, checkpoint, corpus.fingerprint(corpus_texts))
    text = load_text(dataset)
    files = store.checkpoint_files(checkpoint)
    key = hashlib.sha256(json.dumps([store.FORMAT, files, text.fingerprint]).encode()).hexdigest()[:24]
    place = cache_directory() / "goldens" / key
    if not place.exists():
        from braidcheck.golden.record import record

        command = f"braidcheck golden record {model} --dataset {dataset or 'corpus'}"
        name = model if commit or model == "nano" else checkpoint.resolve().name
        record(checkpoint, text, place, device, commit, name, command, progress)
    return checkpoint, store.verify(place, checkpoint, text.fingerprint)


def find_checkpoint(model: str, revision: str | None = None) -> tuple[Path, str | None]:
    """The directory of "nano", of a local checkpoint or of a hub id, and the hub commit if it has one."""
    if model == "nano":
        if not NANO.is_dir():
            raise NotAvailable(
                "the embedded model is a package of its own: pip install 'braidcheck[nano]', or in a checkout of "
                "braidcheck: pip install ./tools/nano_wheel"
            )
        return NANO, None
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
            raise CheckpointError(f"{path} is not a checkpoint: it needs config.json and *.safetensors")
        return path, None
    if path.exists() or path.is_absolute() or model.startswith(".") or model.count("/") != 1:
        raise UserError(f"no model {model}: give nano, a checkpoint directory, or a hub id such as Qwen/Qwen3-0.6B")
    return _from_hub(model, revision or PINNED.get(model))


def _from_hub(model: str, revision: str | None) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    try:
        place = Path(snapshot_download(model, revision=revision, allow_patterns=list(store.CHECKPOINT_FILES)))
    except (OSError, ValueError) as error:
        raise _refusal(model, revision, error) from None
    # A snapshot's directory is named by its commit, whatever branch or tag was requested.
    return place, place.name


def _refusal(model: str, revision: str | None, error: Exception) -> UserError:
    """Why the hub returned no snapshot, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )  # fmt: skip

    answered = error if isinstance(error, HfHubHTTPError) else error.__cause__
    status = answered.response.status_code if isinstance(answered, HfHubHTTPError) else 0
    if isinstance(error, RevisionNotFoundError):
        return UserError(f"the hub has no revision {revision} of {model}: give a commit, branch or tag of it")
    if isinstance(error, GatedRepoError) or status == FORBIDDEN:
        return UserError(f"{model} needs a login: accept its terms on the hub and set HF_TOKEN")
    if isinstance(error, (RepositoryNotFoundError, HFValidationError)) or status == UNAUTHORIZED:
        return UserError(f"the hub has no model {model}, or it needs a login: check the name, or set HF_TOKEN")
    if "onsistency" in str(error):
        return CheckpointError(f"{model} could not be downloaded completely ({str(error).splitlines()[0]}): try again")
    how = f"answers {status}" if status else "cannot be reached"
    return NotAvailable(
        f"{model} is not in the local hub cache and the hub {how}: download it where there is a network and pass its "
        "directory to --model"
    )


def cache_directory() -> Path:
    """The folder for goldens of other models."""
    if chosen := os.environ.get("BRAIDCHECK_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "braidcheck"
