"""The site's pages: links that work on GitHub and on the site, and no page that is in no list."""

import re

import pytest

from tools.site import assemble
from tools.site.assemble import ROOT, located, pages, relinked

NAV = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in pages() if name.endswith(".md")}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_to_files(name):
    links = dict(located(name, TEXTS[name], pages()))
    assert [link for link, found in links.items() if found is None] == []


def test_each_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/-]+\.md", NAV.partition("\nnav:")[2]))
    shown = {place for place in pages().values() if place.endswith(".md") and not place.startswith("results/")}
    made = {"reference/commands.md", "reference/run.md", "reference/faults.md"}
    assert listed == shown | made


@pytest.mark.parametrize(
    ("name", "text", "there"),
    [
        ("README.md", "[a](docs/ci.md#x)", "[a](ci.md#x)"),
        ("README.md", '<img alt="" src="docs/report-light.png">', '<img alt="" src="report-light.png">'),
        ("docs/ci.md", "[a](../README.md)", "[a](index.md)"),
        ("docs/failures/index.md", "[a](../gates.md)", "[a](../gates.md)"),
        ("docs/engines.md", "[a](../braidcheck/op.py)", "[a](source/braidcheck/op.py.md)"),
        ("docs/failures/order.md", "[a](../../CONTRIBUTING.md)", "[a](../contributing.md)"),
        ("README.md", "[a](https://example.org/x.md) [b](#here)", "[a](https://example.org/x.md) [b](#here)"),
    ],
)
def test_links_are_led_to_where_pages_lie(name, text, there):
    places = pages()
    assert relinked(text, places[name], dict(located(name, text, places))) == there


def test_a_link_to_nothing_is_told(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("[a](docs/nowhere.md)")
    monkeypatch.setattr(assemble, "ROOT", tmp_path)
    monkeypatch.setattr(assemble, "pages", lambda: {"README.md": "index.md"})
    with pytest.raises(assemble.BrokenLinks, match=r"README.md: docs/nowhere.md"):
        assemble.assemble(tmp_path / "out")


def test_a_source_is_fenced_by_more_ticks_than_it_holds(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text('"""\n```\n````\n"""\n')
    monkeypatch.setattr(assemble, "ROOT", tmp_path)
    assert assemble.source_page("a.py") == '# a.py\n\n`````python\n"""\n```\n````\n"""\n`````\n'
