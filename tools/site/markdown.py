"""Markdown that several pages need."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; empty where there are no rows."""
    lines = (head, ["---"] * len(head), *rows)
    cells = (" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) for line in lines)
    return "\n".join(f"| {line} |" for line in cells) + "\n" if rows else ""


def code(text: str) -> str:
    """Text as inline code."""
    return f"`{text}`" if text else ""
