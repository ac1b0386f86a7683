"""``braidcheck bench``: braidcheck and baselines on this machine's GPU, from one process."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar

import typer
from typer.core import TyperGroup

from braidcheck import environment
from braidcheck.cli.bench_against import bench_against
from braidcheck.cli.ops_option import with_ops
from braidcheck.cli.overview import check_ops, find_ops
from braidcheck.errors import NotAvailable, UserError
from braidcheck.report.progress import Progress
from braidcheck.result import json_by_line, write_atomically

FORMAT = 1
Measured = TypeVar("Measured")
Show = Callable[[Mapping[str, Any], Mapping[str, Any]], None]  # keys of the measurement and of its machine


class Head(TypedDict):
    """The entries that all benches have."""

    format: int
    bench: str
    seconds: int
    environment: environment.Fingerprint


DEFAULT = "ops"


class Bench(TyperGroup):
    """Reads ``bench OP`` as ``bench ops OP``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, with a missing ``ops`` inserted."""
        known = (*self.commands, *ctx.help_option_names)
        return super().parse_args(ctx, args if args and args[0] in known else [DEFAULT, *args])


app = typer.Typer(
    cls=Bench,
    add_completion=False,
    help="Benchmark braidcheck and baselines on this machine's GPU: bench [OP...], bench decode, bench prefill.",
)
Baselines = Annotated[bool, typer.Option("--baselines", help="also time baselines, each checked for the right answer")]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable output")]
Save = Annotated[Path | None, typer.Option(help="write the measurements to this file")]


@app.command("ops")
@with_ops
def ops(
    op: Annotated[
        list[str] | None, typer.Argument(help="ops (braidcheck list); default: all. With --against: OP FILE:FUNCTION")
    ] = None,
    baselines: Baselines = False,
    as_json: AsJson = False,
    save: Save = None,
    against: Annotated[str, typer.Option(metavar="FILE:FUNCTION", help="compare FILE:FUNCTION with this one")] = "",
    minutes: Annotated[float, typer.Option(min=0.1, help="with --against: time budget")] = 5.0,
) -> int:
    """Time each op on its production shapes: microseconds, and the fraction of the roofline.

    With --against two functions are timed in pairs. Exit code: 0 no slower, 1 slower, 3 undecided.
    """
    if against:
        if baselines:
            raise UserError("--against times two functions: omit --baselines")
        return bench_against(op or [], against, minutes, as_json, save)
    check_ops(op or [])
    _need_gpu()
    from braidcheck.benchmarks.ops import measure_ops
    from braidcheck.report import bench as report

    all_ops = find_ops()
    chosen = {name: all_ops[name] for name in dict.fromkeys(op or all_ops)}
    measured, head = _measured("ops", lambda progress: measure_ops(chosen, baselines, progress))
    if "reason" in measured:
        raise NotAvailable(f"nothing can be timed here: {measured['reason']}")
    rows = report.op_rows(measured)
    body = {**head, "device": measured["device"], "limits": measured["limits"]}
    return _say(body, rows, save, as_json, lambda: report.show_ops(measured, rows, head["environment"]))


@app.command("decode")
def decode(
    baselines: Baselines = False,
    context: Annotated[list[int] | None, typer.Option(min=1, help="tokens in the cache; may be repeated")] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="rows; may be repeated")] = None,
    phases: Annotated[bool, typer.Option("--phases", help="per-kernel breakdown of one decode step")] = False,
    as_json: AsJson = False,
    save: Save = None,
) -> int:
    """Decode with Qwen3-0.6B's shape: tokens per second, and the fraction of the memory-bandwidth roofline."""
    _need_gpu()
    from braidcheck.benchmarks.decode import SETTINGS, Setting, measure_decode
    from braidcheck.report import bench as report

    chosen = tuple(itertools.starmap(Setting, itertools.product(batch or [1], context or [512])))
    settings = chosen if batch or context else SETTINGS
    if phases:
        if baselines or len(chosen) > 1:
            raise UserError(
                "--phases shows braidcheck at one context: omit --baselines and give one --context and --batch"
            )
        from braidcheck.benchmarks.profile import measure_phases

        steps, head = _measured("phases", lambda progress: measure_phases(chosen[0], "cuda", progress))
        return _say_rows(head, steps, save, as_json, report.show_phases)
    everywhere = settings is chosen
    measured, head = _measured(
        "decode", lambda progress: measure_decode(settings, "cuda", baselines, everywhere, progress)
    )
    return _say_rows(head, measured, save, as_json, report.show_decode)


@app.command("prefill")
def prefill(
    tokens: Annotated[list[int] | None, typer.Option(min=1, help="tokens of the prompt; may be repeated")] = None,
    baselines: Baselines = False,
    as_json: AsJson = False,
    save: Save = None,
) -> int:
    """Prefill with Qwen3-0.6B's shape: tokens per second, and the fraction of the GEMM peak."""
    _need_gpu()
    from braidcheck.benchmarks.prefill import TOKENS, measure_prefill
    from braidcheck.report import bench as report

    measured, head = _measured(
        "prefill", lambda progress: measure_prefill(tokens or TOKENS, "cuda", baselines, progress)
    )
    return _say_rows(head, measured, save, as_json, report.show_prefill)


def _need_gpu() -> None:
    if reason := environment.why_no_gpu():
        raise NotAvailable(
            f"timings need a GPU: {reason}; run this on a machine with one, or check accuracy: braidcheck gate"
        )


def _measured(kind: str, measure: Callable[[Progress], Measured]) -> tuple[Measured, Head]:
    """The measurement with the entries that all benches have: kind, seconds and environment."""
    began = time.monotonic()
    with Progress(f"bench {kind}") as progress:
        measured = measure(progress)
    seconds = round(time.monotonic() - began)
    return measured, {"format": FORMAT, "bench": kind, "seconds": seconds, "environment": environment.fingerprint()}


def _say_rows(head: Head, measured: Mapping[str, Any], save: Path | None, as_json: bool, show: Show) -> int:
    """Report a measurement that has rows."""
    body = {**head, **{key: value for key, value in measured.items() if key != "rows"}}
    return _say(body, measured["rows"], save, as_json, lambda: show(measured, head["environment"]))


def _say(
    body: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], save: Path | None, as_json: bool,
    show: Callable[[], None],
) -> int:  # fmt: skip
    """Write and print; 1 if braidcheck has no timing."""
    from braidcheck.benchmarks import BRAIDCHECK

    text = json_by_line(body, "rows", rows, "benchmark 1")
    if save is not None:
        write_atomically(save, text)
    sys.stdout.write(text) if as_json else show()
    without = ("refused", "skipped")
    return int(any(row.get("subject") == BRAIDCHECK and any(key in row for key in without) for row in rows))
