"""The table of conventions in the documentation is the one in the code."""

import re
from pathlib import Path

from braidcheck.numerics.conventions import CONVENTIONS, FORMS, NUMBERED

PAGE = Path(__file__).parents[2] / "docs" / "other-libraries.md"


def test_the_page_lists_every_convention_and_its_ops():
    rows = re.findall(
        r"^\| `([^`]+=[^`]+)` \| (`.*`) \| .* \| (is found|must be asked for) \|$", PAGE.read_text(), re.MULTILINE
    )
    known = [(one.name, one.ops, "must be asked for" if one.other_op else "is found") for one in CONVENTIONS]
    known += [(one.name, one.ops, "must be asked for") for one in FORMS]
    known += [(f"{one.choice}=NUMBER", one.ops, "must be asked for") for one in NUMBERED]
    assert [(name, tuple(re.findall(r"`(\w+)`", ops)), how) for name, ops, how in rows] == known
