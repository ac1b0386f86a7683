"""A Run as a badge for a README: its status as text and colour."""

from __future__ import annotations

from braidcheck.report.failures import failures
from braidcheck.result import Run, Status

FILE = "badge.svg"
COLOURS = {  # behind white text: each with a contrast above 4.5
    Status.PASS: "#1f7a45",
    Status.FAIL: "#b3261e",
    Status.ERROR: "#b3261e",
    Status.INCONCLUSIVE: "#8a5a00",
    Status.SKIPPED: "#5a6473",
}
NAME, NAME_COLOUR = "braidcheck", "#3b4350"
CHARACTER_PX, MARGIN_PX = 6.5, 8  # approximate width of a character in the fonts below
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{title}">
<title>{title}</title>
<clipPath id="c"><rect width="{width}" height="20" rx="3"/></clipPath>
<g clip-path="url(#c)"><path fill="{name_colour}" d="M0 0h{left}v20H0z"/><path fill="{colour}" d="M{left} 0h{right}v20H{left}z"/></g>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
<text x="{left_middle}" y="14">{name}</text>
<text x="{right_middle}" y="14">{said}</text>
</g>
</svg>
"""  # noqa: E501


def render(run: Run) -> str:
    """The whole SVG: 20 pixels high, as wide as its text."""
    said = _said(run)
    left, right = (len(text) * CHARACTER_PX + 2 * MARGIN_PX for text in (NAME, said))
    return SVG.format(
        title=f"{NAME}: {said}", name=NAME, said=said, name_colour=NAME_COLOUR, colour=COLOURS[run.status],
        width=left + right, left=left, right=right, left_middle=left / 2, right_middle=left + right / 2,
    )  # fmt: skip


def _said(run: Run) -> str:
    """The status, and how many ops or checks have it."""
    if run.status in (Status.PASS, Status.SKIPPED):
        passed = sum(verdict.status == Status.PASS for verdict in run.verdicts)
        return f"{passed} checks pass" if run.status == Status.PASS else "nothing evaluated"
    same = [one for one in failures(run) if one.first.status == run.status]
    count = len(same) + (len(run.missing) if run.status == Status.ERROR else 0)
    return f"{count} {run.status}"
