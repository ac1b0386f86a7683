"""``braidcheck golden``: records what Hugging Face answers, verifies recordings, and compares them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braidcheck.report.progress import Progress
from braidcheck.result import Status
from braidcheck.settings import CORPUS, NANO

app = typer.Typer(
    help="Record goldens with HF transformers; verify and compare them.", no_args_is_help=False, add_completion=False
)


@app.command()
def record(
    model: Annotated[str, typer.Argument(help="nano, a checkpoint directory or a hub id")],
    dataset: Annotated[str, typer.Option(help="corpus, wikitext or a path")] = CORPUS,
    revision: Annotated[str | None, typer.Option(help="revision of a hub id")] = None,
    out: Annotated[Path | None, typer.Option(help="folder to write; the user's cache by default")] = None,
) -> int:
    """Run HF in float32 and bfloat16 over a text and store its outputs. Without --out it does nothing if the cache has
    them."""
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
    print(f"{path or NANO_GOLDEN}: intact, of {golden.model}, recorded {golden.manifest['date']}")
    return 0


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(help="a golden's folder")],
    after: Annotated[Path, typer.Argument(help="the folder of another golden of the same model and text")],
) -> int:
    """Show what changed between two recordings. Exit code 1 if it exceeds HF bfloat16's own noise."""
    from braidcheck.gates.coherence import drift
    from braidcheck.golden import store

    a, b = store.load(before), store.load(after)
    changes = drift.measure_drift(a, b)
    for name, old, new in drift.changed_entries(a.manifest, b.manifest):
        print(f"{name}: {old or 'absent'} -> {new or 'absent'}")
    for one in changes:
        print("\n  ".join(drift.described(one)))
    verdicts = [] if all(one.same for one in changes) else drift.evaluate_drift(a, b)
    outside = [verdict for verdict in verdicts if verdict.status in (Status.FAIL, Status.ERROR)]
    untold = [verdict for verdict in verdicts if verdict.status == Status.INCONCLUSIVE]
    for verdict in outside or untold:
        print(f"{verdict.status.value} {verdict.subject}: {verdict.message}")
    if outside:
        print(f"significant: {len(outside)} checks of the coherence gate fail")
    elif untold:
        print("unknown: the recordings are too short to tell")
    else:
        print("not significant: " + ("what changed is within HF bfloat16's own noise" if verdicts else "no change"))
    return 1 if outside else 3 if untold else 0
