"""``braidcheck bench``: ours beside others on this machine's GPU, from one process."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from braidcheck import environment
from braidcheck.cli.overview import check_ops, find_ops
from braidcheck.errors import CannotJudge, UserError
from braidcheck.report.progress import Progress
from braidcheck.result import json_by_line, write_atomically

FORMAT = 1
DEFAULT = "ops"


class Bench(TyperGroup):
    """Takes ``bench OP`` for ``bench ops OP``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, with the command that they leave out."""
        known = (*self.commands, *ctx.help_option_names)
        return super().parse_args(ctx, args if args and args[0] in known else [DEFAULT, *args])


app = typer.Typer(
    cls=Bench,
    help="Time ours beside others on this machine's GPU: bench [OP...], bench decode, bench prefill.",
)
Peers = Annotated[bool, typer.Option("--peers", help="others too, each checked to compute the same")]
AsJson = Annotated[bool, typer.Option("--json", help="for programs")]
Save = Annotated[Path | None, typer.Option(help="write what was measured to this file")]


@app.command("ops")
def ops(
    op: Annotated[list[str] | None, typer.Argument(help="ops of: braidcheck list; all of them")] = None,
    peers: Peers = False,
    as_json: AsJson = False,
    save: Save = None,
) -> int:
    """Time each op on its production shapes: microseconds, and the share of what this machine can do."""
    check_ops(op or [])
    _need_gpu()
    from braidcheck.benchmarks.ops import observe_ops
    from braidcheck.report import bench as report

    found = find_ops()
    wanted = {name: found[name] for name in dict.fromkeys(op or found)}
    seen, body = _observed("ops", lambda progress: observe_ops(wanted, peers, progress))
    if "reason" in seen:
        raise CannotJudge(f"nothing can be timed here: {seen['reason']}")
    rows = report.op_rows(seen)
    body |= {"device": seen["device"], "limits": seen["limits"]}
    return _say(body, rows, save, as_json, lambda: report.show_ops(seen, rows, body["environment"]))


@app.command("decode")
def decode(
    peers: Peers = False,
    context: Annotated[list[int] | None, typer.Option(min=1, help="tokens in the cache; may be repeated")] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="rows; may be repeated")] = None,
    phases: Annotated[bool, typer.Option("--phases", help="where ours' time goes, by kernel, at one context")] = False,
    as_json: AsJson = False,
    save: Save = None,
) -> int:
    """Decode with Qwen3-0.6B's shape: tokens a second, and the share of what the bandwidth allows."""
    _need_gpu()
    from braidcheck.benchmarks.decode import SETTINGS, Setting, observe_decode
    from braidcheck.report import bench as report

    asked = tuple(itertools.starmap(Setting, itertools.product(batch or [1], context or [512])))
    settings = asked if batch or context else SETTINGS
    if phases:
        if peers or len(asked) > 1:
            raise UserError("--phases shows ours at one context: leave --peers out and give one --context and --batch")
        from braidcheck.benchmarks.profile import observe_phases

        seen, body = _observed("phases", lambda progress: observe_phases(asked[0], "cuda", progress))
        show = report.show_phases
    else:
        everywhere = settings is asked
        seen, body = _observed("decode", lambda progress: observe_decode(settings, "cuda", peers, everywhere, progress))
        show = report.show_decode
    body |= {key: value for key, value in seen.items() if key != "rows"}
    return _say(body, seen["rows"], save, as_json, lambda: show(seen, body["environment"]))


@app.command("prefill")
def prefill(
    tokens: Annotated[list[int] | None, typer.Option(min=1, help="tokens of the prompt; may be repeated")] = None,
    peers: Peers = False,
    as_json: AsJson = False,
    save: Save = None,
) -> int:
    """Prefill with Qwen3-0.6B's shape: tokens a second, and the share of the matrix rate."""
    _need_gpu()
    from braidcheck.benchmarks.prefill import TOKENS, observe_prefill
    from braidcheck.report import bench as report

    seen, body = _observed("prefill", lambda progress: observe_prefill(tokens or TOKENS, "cuda", peers, progress))
    body |= {key: value for key, value in seen.items() if key != "rows"}
    return _say(body, seen["rows"], save, as_json, lambda: report.show_prefill(seen, body["environment"]))


def _need_gpu() -> None:
    if reason := environment.why_no_gpu():
        raise CannotJudge(
            f"timings need a GPU: {reason}; run this where there is one, or judge numbers: braidcheck gate"
        )


def _observed(kind: str, observe: Callable[[Progress], dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was seen, and what is said of every bench: its kind, its seconds and where it ran."""
    began = time.monotonic()
    with Progress(f"bench {kind}") as progress:
        seen = observe(progress)
    seconds = round(time.monotonic() - began)
    return seen, {"format": FORMAT, "bench": kind, "seconds": seconds, "environment": environment.fingerprint()}


def _say(
    body: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], save: Path | None, as_json: bool,
    show: Callable[[], None],
) -> int:  # fmt: skip
    """Write and print; 1 where ours has no figure."""
    from braidcheck.benchmarks import OURS

    text = json_by_line(body, "rows", rows)
    if save is not None:
        write_atomically(save, text)
    sys.stdout.write(text) if as_json else show()
    without = ("refused", "not_judged")
    return int(any(row.get("subject") == OURS and any(key in row for key in without) for row in rows))
