"""Timings and baselines on the terminal: decode, its phases, prefill, single ops; reasons for missing numbers
follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from braidcheck.benchmarks import BRAIDCHECK
from braidcheck.gates import timing
from braidcheck.report.terminal import console
from braidcheck.result import Status

Row = Mapping[str, Any]
LIBRARIES = ("torch", "triton", "transformers")


def show_decode(data: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
    """Print one row per setting and subject, below the roofline."""
    table = _table("batch", "context", "decode", "tok/s", "lowest to highest", "of the roofline")
    for place in dict.fromkeys((row["batch"], row["context"]) for row in data["rows"]):
        of_place = [row for row in data["rows"] if (row["batch"], row["context"]) == place]
        first = of_place[0]
        roofline = f"the roofline: {first['bytes'] / 1e6:,.0f} MB a step"
        table.add_row(f"{place[0]}", f"{place[1]:,}", roofline, f"{first['roofline']:,.0f}", "", "100%", style="dim")
        for row in of_place:
            table.add_row("", "", row["subject"], *_rate(row, "of_roofline"))
    bandwidth = f"roofline: those bytes at {data['copy_bandwidth'] / 1e9:,.0f} GB/s, this process's copy bandwidth"
    counted = (
        f"medians of {data['samples']} samples of {data['tokens']} tokens a row, in interleaved rounds; "
        "seeded weights and caches"
    )
    _print(table, _missing(data["rows"]), [bandwidth, counted, circumstances(data, environment)])


def show_phases(data: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
    """Print one row per kernel, with its op's sum on the first one."""
    table = _table("op", "us a step", "of the step", "kernel", "launches", "us", numbers=("us a step", "of the step"))
    step = data["step"]["median"]
    sums: dict[str, float] = {}
    for row in data["rows"]:
        sums[row["op"]] = sums.get(row["op"], 0.0) + row["microseconds"]
    shown = set()
    for row in data["rows"]:
        op = row["op"]
        head = ("", "", "") if op in shown else (op, f"{sums[op]:.1f}", f"{sums[op] / step:.0%}")
        shown.add(op)
        table.add_row(*head, escape(row["kernel"][:60]), f"{row['launches']:.4g}", f"{row['microseconds']:.1f}")
    total = sum(sums.values())
    lines = [
        f"batch {data['batch']}, context {data['context']:,}: a step takes {step:.1f} us ({data['step']['low']:.1f} to "
        f"{data['step']['high']:.1f}), its kernels {total:.1f} us together, the roofline is {data['roofline']:.1f} us",
        "a larger sum: kernels overlap and include their waiting; a smaller one: gaps between kernels",
    ]
    if data["serial"]:
        lines.append("recorded of one step launched kernel by kernel: the profiler does not see into the graph here")
    _print(table, [], [*lines, circumstances(data, environment)])


def show_prefill(data: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
    """Print one row per prompt length and subject."""
    table = _table("tokens", "prefill", "tok/s", "lowest to highest", "of GEMM peak")
    last = None
    for row in data["rows"]:
        tokens = f"{row['tokens']:,}" if row["tokens"] != last else ""
        last = row["tokens"]
        table.add_row(tokens, row["subject"], *_rate(row, "of_gemm_peak"))
    rate = f"GEMM peak: {data['gemm_peak'] / 1e12:,.0f} TFLOP/s, measured in this process"
    counted = f"medians of {data['samples']} samples, in interleaved rounds; seeded weights"
    _print(table, _missing(data["rows"]), [rate, counted, circumstances(data, environment)])


def show_ops(data: Mapping[str, Any], rows: Sequence[Row], environment: Mapping[str, Any]) -> None:
    """Print one row per series, one column per subject; ``rows`` as ``op_rows`` makes them."""
    baselines = [name for name in dict.fromkeys(row["subject"] for row in rows) if name != BRAIDCHECK]
    table = _table(
        "op[shape]", "braidcheck us", "of the limit", *baselines, numbers=("braidcheck us", "of the limit", *baselines)
    )
    for name in dict.fromkeys(row["series"] for row in rows):
        cells = {row["subject"]: row for row in rows if row["series"] == name}
        own_cell = cells[BRAIDCHECK]
        spread = f" ({_us(own_cell['low'])}-{_us(own_cell['high'])})" if "us" in own_cell else ""
        table.add_row(
            escape(name),
            _cell(own_cell) + spread,
            _limit(own_cell),
            *(_cell(cells.get(baseline, {})) for baseline in baselines),
        )
    limits = data["limits"]
    lines = [
        f"limit: bandwidth (BW, {max(limits['copy'], limits['read']) / 1e9:,.0f} GB/s) or GEMM peak (MM, "
        f"{limits['matrix'] / 1e12:,.0f} TFLOP/s), measured in this process, the nearer one; "
        "medians, in interleaved rounds",
        circumstances(data, environment),
    ]
    _print(table, _missing(rows), lines)


def op_rows(data: Mapping[str, Any]) -> list[Row]:
    """The evidence of ``bench ops``, one row per series and subject: ``us``, low, high and fractions of the limits. A
    time that this machine cannot reach is ``refused``, as in the timing gate.
    """
    made: list[Row] = []
    for series, of_series in data["series"].items():
        for subject, times in of_series["subjects"].items():
            row = {"series": series, "subject": subject}
            made.append({**row, **(_shares(data, of_series, times) if "seconds" in times else times)})
    return made


def _shares(data: Mapping[str, Any], of_series: Mapping[str, Any], times: Mapping[str, Any]) -> Row:
    counted = {key: of_series[key] for key in ("bytes", "flops")}
    (verdict,) = timing.evaluate({"limits": data["limits"], "series": {"it": {**times, **counted}}}, names=("it",))
    if verdict.status != Status.PASS:
        return {"refused": verdict.message.removeprefix("refused: ")}
    shares = {key: verdict.metrics[key] for key in ("of_bandwidth", "of_gemm_peak")}
    return {"us": verdict.value, **verdict.metrics["spread"], **shares}


def circumstances(data: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """The machine, the day and the versions in one line."""
    commit = f" ({environment['commit'][:12]})" if environment["commit"] else ""
    driver = [f"driver {environment['driver']}"] if environment["driver"] else []
    versions = [f"{name} {environment['libraries'][name]}" for name in LIBRARIES]
    facts = [data["device"], *driver, environment["started"][:10], f"braidcheck {environment['braidcheck']}{commit}"]
    return ", ".join([*facts, *versions])


def _table(
    *columns: str, numbers: Sequence[str] = ("tok/s", "lowest to highest", "of the roofline", "of GEMM peak")
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(escape(column), justify="right" if column in (*numbers, "launches", "us") else "left")
    return table


def _rate(row: Row, share: str) -> tuple[str, str, str]:
    if "rate" not in row:
        return next(iter(_reasons(row)), ("skipped",))[0], "", ""
    rate = row["rate"]
    return f"{rate['median']:,.0f}", f"{rate['low']:,.0f} to {rate['high']:,.0f}", f"{row[share]:.0%}"


def _reasons(row: Row) -> Iterator[tuple[str, str]]:
    for key in ("refused", "skipped"):
        if key in row:
            yield key.replace("_", " "), row[key]


def _missing(rows: Sequence[Row]) -> list[str]:
    """One line per row without a number: which, and why."""
    lines = []
    for row in rows:
        place = ", ".join(f"{key} {row[key]}" for key in ("batch", "context", "tokens") if key in row) or row.get(
            "series"
        )
        lines += [f"{row['subject']} at {place}: {state}: {why}" for state, why in _reasons(row)]
    return lines


def _cell(row: Row) -> str:
    return _us(row["us"]) if "us" in row else next((state for state, _ in _reasons(row)), "")


def _us(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _limit(row: Row) -> str:
    if "us" not in row:
        return ""
    share, name = max((row["of_bandwidth"], "BW"), (row["of_gemm_peak"], "MM"))
    return f"{share:.0%} {name}"


def _print(table: Table, missing: Sequence[str], lines: Sequence[str]) -> None:
    screen = console()
    screen.print(table)
    for line in missing:
        screen.print(Text(line, style="yellow"), soft_wrap=True)
    for line in lines:
        screen.print(Text(line, style="dim"), soft_wrap=True)
