"""The reference, made from the code: commands, ops, what a Run holds, the faults that the gates are tried on."""

from __future__ import annotations

from braidcheck.mutants import named_faults
from tools.site import commands, faults, formats, ops


def pages() -> dict[str, str]:
    """The reference's pages by their place in its folder."""
    planted = named_faults.named()
    made = {"commands.md": commands.page(), "run.md": formats.page(), "faults.md": faults.page(planted)}
    return {**made, **ops.pages(planted)}
