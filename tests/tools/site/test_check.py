"""What the built site may not do: ask another server for anything, show a picture that says nothing."""

import pytest

from tools.site.check import violations

FINE = '<a href="https://example.org">x</a> <img src="a.png" alt="a"> <link rel="canonical" href="https://e.org">'


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "<script> loads https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//fonts.example/css">', "<link> loads //fonts.example/css"),
        ('<img alt="a" src="http://example.org/a.png">', "<img> loads"),
        ('<source srcset="https://example.org/a.png">', "<source> loads"),
        ('<img src="a.png">', "has no alt text"),
        ('<style>@import "https://example.org/a.css"</style>', "a style loads https://example.org/a.css"),
        ('<pre class="mermaid">', "class 'mermaid'"),
        ('<span class="arithmatex">', "class 'arithmatex': a formula was not made MathML"),
    ],
)
def test_what_is_planted_is_found(tmp_path, planted, said):
    (tmp_path / "index.html").write_text(FINE)
    assert list(violations(tmp_path)) == []
    (tmp_path / "page.html").write_text(FINE + planted)
    (found,) = violations(tmp_path)
    assert found.startswith("page.html: ")
    assert said in found


def test_styles_are_read(tmp_path):
    (tmp_path / "a.css").write_text("a { background: url('https://example.org/a.png') } b { background: url(a.png) }")
    assert list(violations(tmp_path)) == ["a.css: a style loads https://example.org/a.png"]
