"""Holds the built site to its promise: it asks no other server for anything, and every picture says what it shows.

python -m tools.site.check braidcheck-out/site/html
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

LOADED = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "link": ("href",),
    "source": ("src", "srcset"),
    "iframe": ("src",),
}
LOADED |= {"video": ("src",), "audio": ("src",), "object": ("data",), "embed": ("src",), "form": ("action",)}
ELSEWHERE = re.compile(r"(https?:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)
# What makes the theme's script fetch something, diagrams and the number of a repository's stars, or needs a script.
TRIGGERS = {
    "mermaid": "diagrams fetch a script",
    "md-source": "a repository's facts are fetched",
    "arithmatex": "a formula was not made MathML",
}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        canonical = tag == "link" and attributes.get("rel") in ("canonical", "alternate")
        for name in () if canonical else LOADED.get(tag, ()):
            if ELSEWHERE.match(attributes.get(name, "")):
                self.found.append(f"<{tag}> loads {attributes[name]}")
        if tag == "img" and not attributes.get("alt"):
            self.found.append(f"<img> {attributes.get('src')} has no alt text")
        for word in attributes.get("class", "").split():
            if word in TRIGGERS:
                self.found.append(f"class {word!r}: {TRIGGERS[word]}")


def violations(folder: Path) -> Iterator[str]:
    """What pages and styles of the built site load from elsewhere, and pictures that say nothing."""
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".html", ".css"):
            continue
        text, name = path.read_text(encoding="utf-8"), path.relative_to(folder).as_posix()
        if path.suffix == ".html":
            page = _Page()
            page.feed(text)
            yield from (f"{name}: {what}" for what in page.found)
        yield from (f"{name}: a style loads {url}" for url in IN_STYLE.findall(text))


def main() -> int:
    """Check the site in the folder that the command line names."""
    folder = Path(sys.argv[1])
    problems = list(violations(folder)) if (folder / "index.html").is_file() else [f"{folder} has no index.html"]
    print("\n".join(problems) or f"{folder}: nothing is loaded from elsewhere, every picture has an alt text")
    return bool(problems)


if __name__ == "__main__":
    raise SystemExit(main())
