"""What MkDocs is told while it builds the site: the pages of the ops, and formulas as MathML, which needs no script."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config: Any) -> Any:
    """List the pages of the ops, of which the code decides, below their table."""
    names = sorted(path.stem for path in Path(config.docs_dir, "reference", "ops").glob("*.md"))
    for section in config.nav:
        for entry in section.get("Reference", []):
            if "Ops" in entry:
                entry["Ops"] = ["reference/ops.md", *(f"reference/ops/{name}.md" for name in names)]
    return config


def on_page_content(content: str, **_: Any) -> str:
    """Formulas become MathML."""
    return FORMULA.sub(lambda match: _mathml(match[3], block=match[2] == "["), content)


def _mathml(formula: str, block: bool) -> str:
    made = convert(html.unescape(formula), display="block" if block else "inline")
    return f'<div class="formula">{made}</div>' if block else made
