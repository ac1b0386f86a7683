"""A card's figure for Bokeh; the page sets the colours, for light or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.embed import json_item
from bokeh.models import BoxZoomTool, ColumnDataSource, DatetimeTickFormatter, HoverTool, PanTool, ResetTool, Span
from bokeh.plotting import figure
from bokeh.resources import Resources

from braidcheck.ci.history import timestamp
from braidcheck.report.page.trends import Card

Columns = dict[str, np.ndarray | Sequence[float] | Sequence[str]]  # by name
HEIGHT = 200  # pixels


def library() -> str:
    """Bokeh's core script, which is enough for plots."""
    return "\n".join(Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw)


def draw(card: Card) -> Mapping[str, object]:
    """The figure as JSON for ``Bokeh.embed.embed_item``. Models have names by which the page colours them."""
    plot = figure(
        height=HEIGHT,
        sizing_mode="stretch_width",
        x_axis_type="datetime" if card.dated else "linear",
        tools=[PanTool(dimensions="width"), BoxZoomTool(dimensions="width"), ResetTool()],
        toolbar_location=None,
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        min_border_left=56,
    )
    plot.toolbar.active_drag = plot.tools[1]
    plot.xgrid.visible = False
    plot.yaxis.axis_line_color = plot.yaxis.minor_tick_line_color = plot.xaxis.minor_tick_line_color = None
    plot.yaxis.ticker.desired_num_ticks = 4
    source = ColumnDataSource(_columns(card))
    dots = plot.scatter("x", "drawn", source=source, size=4, name="dots", line_color=None, fill_alpha=0.7)
    if card.levels:
        plot.step("x", "level", source=ColumnDataSource(_steps(card)), mode="after", line_width=2, name="level")
    _changes(plot, card)
    if card.limit is not None and max(card.drawn) > card.limit / 4:
        plot.add_layout(Span(location=card.limit, dimension="width", line_dash="dashed", name="limit"))
    plot.add_tools(_hover(card, dots))
    if card.dated:
        plot.xaxis.formatter = DatetimeTickFormatter(days="%d %b", months="%b %Y", years="%Y")
    return json_item(plot)


def _columns(card: Card) -> Columns:
    """By night; readings in single precision, which halves the page."""
    columns: Columns = {"x": _x(card, card.times), "drawn": np.array(card.drawn, dtype=np.float32)}
    if card.values is not card.drawn:
        columns["value"] = np.array(card.values, dtype=np.float32)
    if any(card.commits):
        columns["commit"] = list(card.commits)
    return columns


def _steps(card: Card) -> Columns:
    """Where a level begins, and the last night."""
    count = len(card.levels)
    at = [night for night in range(count) if night in (0, count - 1) or card.levels[night] != card.levels[night - 1]]
    return {"x": _x(card, card.times)[at], "level": [card.levels[night] for night in at]}


def _x(card: Card, times: Any) -> Any:
    return np.array(times) * (1000.0 if card.dated else 1.0)  # Bokeh's dates are milliseconds


def _changes(plot: Any, card: Card) -> None:
    for word in ("worse", "better"):
        at = [timestamp(one.time) for one in card.findings if one.worse == (word == "worse")]
        for x in _x(card, at):
            plot.add_layout(Span(location=float(x), dimension="height", line_width=2, line_dash="dotted", name=word))


def _hover(card: Card, dots: Any) -> HoverTool:
    shown = [("night", "@x{%F %H:%M}" if card.dated else "@x")]
    if card.values is not card.drawn:
        shown += [("measured", "@value{0.[0000]}"), ("of control", "@drawn{0.[0000]}")]
    else:
        shown += [("value", "@drawn{0.[0000]}")]
    shown += [("commit", "@commit")] if any(card.commits) else []
    formatters = {"@x": "datetime"} if card.dated else {}
    return HoverTool(tooltips=shown, formatters=formatters, renderers=[dots], mode="vline", limit=1)
