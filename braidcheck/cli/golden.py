"""``braidcheck golden``: record what Hugging Face answers, and check what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braidcheck.report.progress import Progress
from braidcheck.settings import CORPUS, NANO

app = typer.Typer(help="Record goldens with HF transformers, and verify them.", no_args_is_help=False)


@app.command()
def record(
    model: Annotated[str, typer.Argument(help="nano, a checkpoint directory or a hub id")],
    dataset: Annotated[str, typer.Option(help="corpus, wikitext or a path")] = CORPUS,
    revision: Annotated[str | None, typer.Option(help="revision of a hub id")] = None,
    out: Annotated[Path | None, typer.Option(help="folder to write; the user's cache by default")] = None,
) -> int:
    """Run HF in float32 and bfloat16 over a text and store what it answered; in the cache, only if not there yet."""
    from braidcheck.golden import record as recorder
    from braidcheck.golden.resolve import find_checkpoint, resolve
    from braidcheck.golden.texts import load_text

    with Progress(f"golden of {model}") as progress:
        checkpoint, commit = find_checkpoint(model, revision)
        if out is None:
            _, golden = resolve(model, dataset, revision, progress=progress)
        else:
            name = model if commit or model == NANO else None
            text = load_text(dataset)
            golden = recorder.record(checkpoint, text, out, revision=commit, model_id=name, progress=progress)
    tokens = golden.manifest["tokens"]
    print(f"golden of {golden.model}: {len(golden)} documents, {tokens} tokens" + (f", in {out}" if out else ""))
    return 0


@app.command()
def verify(path: Annotated[Path | None, typer.Argument(help="a golden's folder; nano's by default")] = None) -> int:
    """Re-check every hash of a golden; nano's also against its checkpoint and corpus."""
    from braidcheck.golden import store
    from braidcheck.golden.resolve import NANO_GOLDEN, resolve

    golden = store.verify(path) if path else resolve()[1]
    print(f"{path or NANO_GOLDEN}: whole, of {golden.model}, recorded {golden.manifest['date']}")
    return 0
