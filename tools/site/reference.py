"""The reference, made from the code: commands, ops, what a Run holds."""

from __future__ import annotations

from tools.site import commands, formats, ops


def pages() -> dict[str, str]:
    """The reference's pages by their place in its folder."""
    return {"commands.md": commands.page(), "run.md": formats.page(), **ops.pages()}
