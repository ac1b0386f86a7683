"""The sample pages in docs/: whole, small, and where the README says they are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.html")), ids=lambda path: path.name)
def test_a_sample_is_one_small_file_that_fetches_nothing(page):
    text = page.read_text(encoding="utf-8")
    assert len(text.encode()) <= 2_000_000
    assert text.rstrip().endswith("</html>")
    assert "default-src 'none'" in text
    assert not re.search(r"<(link|script|img)[^>]+(src|href)=\"?http", text)


def test_what_the_readme_shows_is_there_and_small():
    named = re.findall(r"docs/[\w.-]+\.(?:png|html)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(named) >= 4
    for name in named:
        assert (ROOT / name).stat().st_size < (200_000 if name.endswith(".png") else 2_000_000), name
