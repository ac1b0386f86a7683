"""Puts the site's pages together: docs/, the pages beside it, and the reference, which is made from the code.

    python -m tools.site.assemble braidcheck-out/site/pages

A page is written for GitHub, where its links lead to files. Here a link to another page leads to that page, and a link
to any other file of the repository to a page of its source, so that nothing on the site needs the network.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.site import reference

ROOT = Path(__file__).parents[2]
BESIDE = {  # of the pages that do not lie in docs/, where they lie on the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "DESIGN.md": "design.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
LEFT_OUT = (".py",)  # in docs/: these make or show something, and are read as sources
TARGET = re.compile(r"(\]\(|(?:src|srcset|href)=\")([^)\s\"#]+)(#[^)\s\"]*)?(?=[)\"])")
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".json": "json", ".sh": "bash"}


class BrokenLinks(Exception):
    """Links to files that the repository does not have, one a line."""


def assemble(out: Path) -> None:
    """Write all pages to the folder ``out``, which is made again. Raises BrokenLinks."""
    shutil.rmtree(out, ignore_errors=True)
    places, broken, sources = pages(), [], set[str]()
    for name, place in places.items():
        target = out / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix != ".md":
            shutil.copy(ROOT / name, target)
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        links = dict(located(name, text, places))
        broken += [f"{name}: {link}" for link, found in links.items() if found is None]
        sources |= {found.removeprefix("source/").removesuffix(".md") for found in links.values() if _is_source(found)}
        target.write_text(relinked(text, place, links), encoding="utf-8")
    if broken:
        raise BrokenLinks("\n".join(broken))
    for name in sources:
        _write(out / "source" / f"{name}.md", source_page(name))
    for place, text in reference.pages().items():
        _write(out / "reference" / place, text)


def pages() -> dict[str, str]:
    """Of each file that the site shows, its place there by its path in the repository."""
    docs = (path for path in sorted((ROOT / "docs").rglob("*")) if path.is_file() and path.suffix not in LEFT_OUT)
    inner = {path.relative_to(ROOT).as_posix(): path.relative_to(ROOT / "docs").as_posix() for path in docs}
    return BESIDE | inner


def located(name: str, text: str, places: dict[str, str]) -> Iterator[tuple[str, str | None]]:
    """The links of the file ``name`` to other files, and where each leads on the site; None where there is no file."""
    for match in TARGET.finditer(text):
        link = match[2]
        if re.match(r"[a-z]+:", link):
            continue
        path = os.path.normpath(os.path.join(os.path.dirname(name), link))
        there = (ROOT / path).is_file()
        yield link, places.get(path, f"source/{path}.md") if there else None


def relinked(text: str, place: str, links: dict[str, str | None]) -> str:
    """The text of the page at ``place``, its links leading to where ``links`` says."""

    def lead(match: re.Match[str]) -> str:
        target = links.get(match[2])
        if target is None:
            return match[0]
        return f"{match[1]}{os.path.relpath(target, os.path.dirname(place) or '.')}{match[3] or ''}"

    return TARGET.sub(lead, text)


def source_page(name: str) -> str:
    """A file of the repository as a page."""
    text = (ROOT / name).read_text(encoding="utf-8")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"# {name}\n\n{fence}{LANGUAGES.get(Path(name).suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def _is_source(place: str | None) -> bool:
    return place is not None and place.startswith("source/")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def main() -> int:
    """Assemble the site's pages in the folder that the command line names."""
    try:
        assemble(Path(sys.argv[1]))
    except BrokenLinks as error:
        print(f"links that lead nowhere:\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
